"""The demo: what it reads, what it shows, and the page around it."""

import os

# Gradio looks at these when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

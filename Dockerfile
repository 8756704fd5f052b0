# Reads images on the CPU, as a user without rights.
#
#   docker build -t crnn_jax .
#   docker run --rm -v "$PWD:/data:ro" crnn_jax /data/word.png
#   docker run --rm --entrypoint python crnn_jax -m crnn_jax.predict --list
#
# For NVIDIA GPUs: docker build --build-arg EXTRAS='[cuda12]' -t crnn_jax . && docker run --gpus all ...
FROM python:3.11-slim
ARG EXTRAS=""
COPY . /src
RUN python -m pip install --no-cache-dir -c /src/constraints.txt "/src${EXTRAS}" && rm -rf /src \
    && useradd --create-home reader
USER reader
WORKDIR /home/reader
ENTRYPOINT ["python", "-m", "crnn_jax.predict"]

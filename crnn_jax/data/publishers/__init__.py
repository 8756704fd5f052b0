"""Word recognition sets in the layouts that their publishers distribute, read where they are."""

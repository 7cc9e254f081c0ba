"""SED: a simple encoder-decoder for open-vocabulary semantic segmentation (CVPR 2024)."""

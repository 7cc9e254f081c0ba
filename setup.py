"""Packages the library and maps projects/<paper> to segplugins.projects.<paper>."""

from setuptools import find_packages, setup

NAMESPACE = "segplugins.projects"
papers = find_packages("projects")  # a folder with __init__.py is a paper

setup(
    name="segplugins",
    version="0.1.0",
    packages=find_packages(include=["segplugins", "segplugins.*"])
    + [f"{NAMESPACE}.{paper}" for paper in papers],
    package_dir={f"{NAMESPACE}.{paper}": "projects/" + paper.replace(".", "/") for paper in papers},
)

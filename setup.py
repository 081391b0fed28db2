"""What a wheel brings: the packages, and the data that they read, as ``flanlib/data/``. See pyproject.toml too."""

from setuptools import find_packages, setup

FOLDERS = {f"flanlib.data.{name}": f"data/{name}" for name in ("paper", "lab", "example")}

setup(
    packages=[*find_packages(include=["flanlib*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={name: ["*.csv", "*.json", "*.jsonl"] for name in FOLDERS},
)

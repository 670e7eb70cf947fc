"""From pictures to features on DINOv2, CLIP, VGG16 and torchvision's Inception, through us and through others' code.

The weights are of nobody, in the published layout; the peers take the same tensors by the same names. The pictures are
crops of photographs of unlike sizes and shapes.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.bundle import Bundle

torch = pytest.importorskip("torch")
transforms = pytest.importorskip("torchvision.transforms")
pytest.importorskip("sklearn.datasets")
networks = pytest.importorskip("tests.networks")
inception = pytest.importorskip("tests.inception")

from torch.nn import functional  # noqa: E402

pytestmark = pytest.mark.parity

Features = NDArray[np.floating]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class World:
    """One network, the file that its weights were read from, and the bundle that was filled from it."""

    name: str
    module: Any
    state: dict[str, Any]
    checkpoint: Path
    bundle: Bundle

    def features(self, protocol: str | None = None) -> Features:
        extractor = gm.FeatureExtractor(self.bundle, protocol=protocol, device="cpu", batch_size=2)
        return extractor(photographs())[0]


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    name = request.param
    root = tmp_path_factory.mktemp(name)
    module = networks.network(name)
    state = networks.published(name, module)
    checkpoint = networks.write(name, state, root / "weights.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENMETRICS_HOME", str(root / "home"))
        yield World(name, module, state, checkpoint, networks.filled(name, checkpoint, root / "bundle"))
    for file in root.rglob("*"):  # the large ones fill a disk
        if file.is_file():
            file.unlink()


def of(*names: str, heavy: tuple[str, ...] = ()) -> Any:
    """Once for each network; the heavy ones under `make proof`."""
    marked = [pytest.param(name, marks=[pytest.mark.proof, pytest.mark.timeout(1800)]) for name in heavy]
    return pytest.mark.parametrize("world", [*names, *marked], indirect=True)


def photographs() -> list[NDArray[np.uint8]]:
    """Wide, tall, larger and smaller than what the networks take."""
    sizes = [(90, 130), (420, 300), (260, 260), (37, 61)]
    crops = inception.crops(len(sizes), seed=5, sizes=(421, 425))
    return [np.ascontiguousarray(crop[:height, :width]) for crop, (height, width) in zip(crops, sizes, strict=True)]


def theirs(prepare: Callable[[NDArray[np.uint8]], Any], run: Callable[[Any], Any]) -> Features:
    """Features by a peer: each picture prepared and run by itself."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [run(prepare(image)[None]) for image in photographs()]
    return torch.cat(rows).float().numpy()


def require_the_same(found: Features, expected: Features, limit: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert expected.std(axis=0).mean() > 1e-2, "features that hardly depend on the picture would show no error"
    assert np.abs(found - expected).max() <= limit


# What the reference implementations do to a picture


def standardised(pixels: Any, statistics: Any) -> Any:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in statistics)
    return (pixels / 255 - mean) / std


def chw(image: NDArray[Any]) -> Any:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def by_dgm_eval(image: NDArray[np.uint8]) -> Any:
    steps = [transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC), transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(*IMAGENET)])(Image.fromarray(image))


def by_dgm_eval_clean(image: NDArray[np.uint8]) -> Any:
    planes = [
        np.asarray(Image.fromarray(image[..., channel].astype(np.float32)).resize((224, 224), Image.Resampling.BICUBIC))
        for channel in range(3)
    ]
    return standardised(torch.from_numpy(np.stack(planes).clip(0, 255)), IMAGENET)


def by_edm2(image: NDArray[np.uint8]) -> Any:
    pixels = chw(image).float()[None]
    resized = functional.interpolate(pixels, size=(224, 224), mode="bicubic", antialias=True)
    return standardised(resized[0], IMAGENET)


def by_tensorflow(side: int, statistics: Any) -> Callable[[NDArray[np.uint8]], Any]:
    module = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")

    def prepare(image: NDArray[np.uint8]) -> Any:
        pixels = chw(image).float()[None]
        resized = module.interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(side, side), align_corners=False)
        return standardised(resized[0], statistics)

    return prepare


DINO_PROTOCOLS = {
    "dgm-eval": lambda: by_dgm_eval,
    "dgm-eval-clean": lambda: by_dgm_eval_clean,
    "edm2": lambda: by_edm2,
    "torch-fidelity": lambda: by_tensorflow(224, IMAGENET),
}


# DINOv2


def positions(table: Any) -> Any:
    """DINOv2's own interpolation of its position table (1, 1370, D) to 16 × 16 patches, with its 0.1."""
    patches = table[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    scale = (16 + 0.1) / 37
    resized = functional.interpolate(patches, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


@of("dinov2-vits14", heavy=("dinov2-vitb14", "dinov2-vitl14"))
@pytest.mark.parametrize("protocol", DINO_PROTOCOLS)
def test_dinov2_is_that_of_timm(world: World, protocol: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timm = pytest.importorskip("timm")
        size = {"s": "small", "b": "base", "l": "large"}[world.name[len("dinov2-vit")]]
        peer = timm.create_model(f"vit_{size}_patch14_dinov2", pretrained=False, img_size=224, num_classes=0).eval()
    state = {name: value for name, value in world.state.items() if name != "mask_token"}
    peer.load_state_dict({**state, "pos_embed": positions(state["pos_embed"])})
    require_the_same(world.features(protocol), theirs(DINO_PROTOCOLS[protocol](), peer))


@of("dinov2-vits14")
def test_dinov2_is_that_of_transformers(world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        config = transformers.Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=224, patch_size=14
        )
        peer = transformers.Dinov2Model(config).eval()
    state = world.state
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": state["mask_token"],
        "embeddings.position_embeddings": positions(state["pos_embed"]),
        **{f"embeddings.patch_embeddings.projection.{end}": state[f"patch_embed.proj.{end}"] for end in ENDS},
        **{f"layernorm.{end}": state[f"norm.{end}"] for end in ENDS},
    }
    for block in range(12):
        ours, own = f"blocks.{block}.", f"encoder.layer.{block}."
        for which in ("1", "2"):
            renamed[f"{own}layer_scale{which}.lambda1"] = state[f"{ours}ls{which}.gamma"]
        for end in ENDS:
            for name, part in zip("qkv", state[f"{ours}attn.qkv.{end}"].chunk(3), strict=True):
                renamed[f"{own}attention.{name}_proj.{end}"] = part
            renamed[f"{own}attention.o_proj.{end}"] = state[f"{ours}attn.proj.{end}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                renamed[f"{own}{name}.{end}"] = state[f"{ours}{name}.{end}"]
    peer.load_state_dict(renamed)
    require_the_same(world.features(), theirs(by_dgm_eval, lambda x: peer(x).pooler_output))


ENDS = ("weight", "bias")


@of("dinov2-vits14")
def test_the_tenth_in_the_interpolation_of_dinov2_matters(world: World) -> None:
    """Without it, or with antialias, as other ports have it, features move by far more than the limit of this file."""
    table = world.state["pos_embed"]
    patches = table[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    plain = functional.interpolate(patches, size=(16, 16), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    assert (plain - positions(table)[:, 1:]).abs().max() > 1e-2
    assert (world.module.positions() - positions(table)).abs().max() < 1e-6


# CLIP


def test_the_torchscript_archive_is_in_half_precision_and_holds_a_text_tower_too(tmp_path: Path) -> None:
    state = networks.published("clip-vit-b-32", networks.network("clip-vit-b-32"))
    assert state["visual.proj"].dtype == torch.float16 and "text_projection" in state
    path = networks.write("clip-vit-b-32", state, tmp_path / "ViT-B-32.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = torch.jit.load(str(path)).state_dict()
    assert read.keys() == state.keys() and read["visual.proj"].dtype == torch.float16


@of("clip-vit-b-32", heavy=("clip-vit-l-14-336",))
def test_clip_is_that_of_torch_fidelity(world: World) -> None:
    """From the same archive, each with its own reader."""
    peer = fidelity_clip(world)
    require_the_same(world.features("torch-fidelity"), theirs(chw, lambda x: peer(x)[0]))


def fidelity_clip(world: World) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch_fidelity.feature_extractor_clip")
        name = {"clip-vit-b-32": "clip-vit-b-32", "clip-vit-l-14-336": "clip-vit-l-14-336px"}[world.name]
        return module.FeatureExtractorCLIP(name, ["clip"], feature_extractor_weights_path=str(world.checkpoint))


@of("clip-vit-b-32")
def test_clip_is_that_of_clean_fid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its preprocessing and its scaling; for the network, OpenAI's package in it, stands torch-fidelity's port."""
    monkeypatch.setitem(sys.modules, "clip", types.ModuleType("clip"))
    module = pytest.importorskip("cleanfid.clip_features")
    extractor = module.CLIP_fx.__new__(module.CLIP_fx)
    extractor.model = types.SimpleNamespace(encode_image=fidelity_clip(world).model.visual)
    found = world.features("clean-fid")
    require_the_same(found, theirs(lambda image: chw(module.img_preprocess_clip(image)), extractor))


@of("clip-vit-b-32", heavy=("clip-vit-l-14-336",))
def test_clip_is_that_of_transformers_by_whichever_protocol_is_the_default(world: World) -> None:
    """For ViT-L/14-336 this is the way of CMMD's port to PyTorch, from the picture on."""
    large = world.name == "clip-vit-l-14-336"
    peer = clip_of_transformers(world, side=336 if large else 224, patch=14 if large else 32)

    def by_cmmd(image: NDArray[np.uint8]) -> Any:
        picture = Image.fromarray(image)
        width, height = picture.size
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        square = picture.crop((left, top, left + side, top + side)).resize((336, 336), Image.Resampling.BICUBIC)
        pixels = np.asarray(square).astype(np.float32) / 255.0
        return standardised(chw(pixels) * 255, CLIP)

    def by_clip(image: NDArray[np.uint8]) -> Any:
        mode = transforms.InterpolationMode.BICUBIC
        steps = [transforms.Resize(224, mode), transforms.CenterCrop(224), transforms.ToTensor()]
        return transforms.Compose([*steps, transforms.Normalize(*CLIP)])(Image.fromarray(image))

    require_the_same(world.features(), theirs(by_cmmd if large else by_clip, lambda x: peer(x).image_embeds))


def clip_of_transformers(world: World, *, side: int, patch: int) -> Any:
    state = {name.removeprefix("visual."): value.float() for name, value in world.state.items() if "visual." in name}
    width, dimension = state["proj"].shape
    depth = sum(name.endswith(".attn.in_proj_weight") for name in state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        config = transformers.CLIPVisionConfig(
            hidden_size=width, intermediate_size=4 * width, projection_dim=dimension, num_hidden_layers=depth,
            num_attention_heads=width // 64, image_size=side, patch_size=patch, hidden_act="quick_gelu",
        )  # fmt: skip
        peer = transformers.CLIPVisionModelWithProjection(config).eval()
    renamed = {
        "embeddings.class_embedding": state["class_embedding"],
        "embeddings.patch_embedding.weight": state["conv1.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        **{f"pre_layrnorm.{end}": state[f"ln_pre.{end}"] for end in ENDS},
        **{f"post_layernorm.{end}": state[f"ln_post.{end}"] for end in ENDS},
    }
    for block in range(depth):
        ours, own = f"transformer.resblocks.{block}.", f"encoder.layers.{block}."
        for end in ENDS:
            for name, part in zip("qkv", state[f"{ours}attn.in_proj_{end}"].chunk(3), strict=True):
                renamed[f"{own}self_attn.{name}_proj.{end}"] = part
            renamed[f"{own}self_attn.out_proj.{end}"] = state[f"{ours}attn.out_proj.{end}"]
            for theirs_name, name in (
                ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
            ):  # fmt: skip
                renamed[f"{own}{theirs_name}.{end}"] = state[f"{ours}{name}.{end}"]
    whole = {f"vision_model.{name}": value for name, value in renamed.items()}
    missing, unexpected = peer.load_state_dict({**whole, "visual_projection.weight": state["proj"].T}, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing), (missing, unexpected)
    return peer


# torchvision's networks


@of("vgg16")
def test_vgg16_is_that_of_torch_fidelity(world: World) -> None:
    """The features of the original improved precision and recall."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch_fidelity.feature_extractor_vgg16")
        peer = module.FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(world.checkpoint))
    require_the_same(world.features(), theirs(chw, lambda x: peer(x)[0]))


@of("inception-torchvision")
@pytest.mark.parametrize("protocol", ["biggan", "torcheval"])
def test_inception_is_that_of_torchvision(world: World, protocol: str) -> None:
    models = pytest.importorskip("torchvision.models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = models.inception_v3(
            weights=None, aux_logits=False, transform_input=protocol == "torcheval", init_weights=False
        ).eval()
    peer.load_state_dict({name: value for name, value in world.state.items() if not name.startswith("AuxLogits.")})

    def prepare(image: NDArray[np.uint8]) -> Any:
        pixels = chw(image).float()[None] / 255
        if protocol == "torcheval":
            return functional.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)[0]
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in IMAGENET)
        resized = functional.interpolate((pixels - mean) / std, size=(299, 299), mode="bilinear", align_corners=True)
        return resized[0]

    extractor = gm.FeatureExtractor(world.bundle, protocol=protocol, device="cpu", batch_size=2)
    features, logits = extractor(photographs())
    assert logits is not None
    require_the_same(logits, theirs(prepare, peer), 1e-4)
    peer.fc = torch.nn.Identity()
    require_the_same(features, theirs(prepare, peer))

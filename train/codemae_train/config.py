"""Recipes: what a run is told, as YAML. Every field is explained at its place; unknown keys are refused."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codemae_geo.errors import InputError
from codemae_geo.texts import read_text

Beta = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """A section of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class LoadConfig(Part):
    """How a method's data is loaded; the loop reads these."""

    #: unreadable files that a run tolerates
    skip_unreadable: int = Field(default=0, ge=0)
    #: loader processes per rank
    workers: int = Field(default=0, ge=0)


class LoopConfig(Part):
    """What the loop is told, whatever it trains."""

    epochs: int = Field(default=800, ge=1)
    #: samples per optimizer step, over all processes and accumulated batches
    batch: int = Field(default=1024, ge=1)
    #: batches per optimizer step
    accumulate: int = Field(default=1, ge=1)
    #: largest gradient norm; 0 does not clip
    clip: float = Field(default=0.0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    #: processes per node, and nodes; where torchrun or Slurm has started processes, theirs count
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    seed: int = 42
    #: optimizer steps between log lines
    log_every: int = Field(default=20, ge=1)
    #: optimizer steps between checkpoints; 0 saves at the end of every epoch only
    save_every: int = Field(default=0, ge=0)
    #: epochs between validations, and optimizer steps between more of them (0: none)
    validate_every: int = Field(default=1, ge=1)
    validate_steps: int = Field(default=0, ge=0)
    #: stop after so many optimizer steps, whatever the epochs say; 0 does not
    max_steps: int = Field(default=0, ge=0)
    #: which weights are exported: those of the last step, or of the best validation
    select: Literal["last", "best"] = "last"


class BaseRecipe(Part):
    """One run of any method; each has its own subclass."""

    name: str = Field(default="run", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    data: LoadConfig = LoadConfig()
    train: LoopConfig = LoopConfig()


class DataConfig(LoadConfig):
    """Where the images are."""

    #: "scenes": two folders of GeoTIFFs; "ospretrain": one folder in the published layout; "packed": shards of it
    kind: Literal["scenes", "ospretrain", "packed"] = "ospretrain"
    root: Path | None = None
    optical: Path | None = None
    sar: Path | None = None
    #: values that become 0 and 255; needed unless the files are uint8
    optical_stretch: tuple[float, float] | None = None
    sar_stretch: tuple[float, float] | None = None
    #: side in pixels of the window read from scenes, before the random crop
    window: int = Field(default=256, ge=16)
    #: windows per epoch drawn from scenes
    places: int = Field(default=2048, ge=1)
    #: area kept out of training and used for validation: the eastern share of the scenes, or (left, bottom, right, top)
    #: in CRS units
    holdout: float | tuple[float, float, float, float] | None = None
    #: folders in the published layout
    use: Literal["both", "paired", "unpaired"] = "both"
    exclude: list[str] = ["PIE-RGB-SAR", "YESeg-OPT-SAR", "SS4EO-S12"]
    exclude_test: list[str] = ["WHU-OPT-SAR", "OGSOD-2", "DDHR", "DFC23_Track1"]
    #: "published" needs dataset folders with the published names; scenes are always measured
    statistics: Literal["published", "measured"] = "published"


class ModelConfig(Part):
    """The model; see :class:`codemae_geo.models.codemae.CoDeMAE` for what each means."""

    encoder: str | dict[str, Any] = "base"
    img_size: int = Field(default=224, ge=32)
    decoder_dim: int | None = None
    decoder_depth: int | None = None
    decoder_heads: int | None = None
    mask_ratio: float = 0.75
    shared_decoder: bool = True
    norm_pix_loss: bool = True
    distill: bool = True
    distill_loss: Literal["smooth_l1", "l1"] = "smooth_l1"
    distill_auxiliary: bool = True
    contrast: bool = True
    contrast_head: Literal["none", "linear", "mlp", "ca", "ca_ffn", "ca_sa_ffn", "tokens"] = "ca"
    contrast_from: Literal["decoder", "encoder"] = "decoder"
    gather: Literal["published", "exact"] = "published"
    cross: bool = True
    cross_target: Literal["grey", "pixel", "median", "pool", "hog", "mgf"] = "grey"
    #: timm name with weights on the hub, a file, or "random-small" (for tests: teaches nothing)
    teacher: str = "vit_large_patch16_dinov3.sat493m"
    #: weights to start from: a pretraining checkpoint, or iTPN's ImageNet weights
    init: Path | None = None

    def build_args(self, teacher_dim: int) -> dict[str, Any]:
        """Keyword arguments of the model."""
        args = self.model_dump(exclude={"teacher", "init", "img_size", "encoder"})
        encoder = {"variant": self.encoder} if isinstance(self.encoder, str) else dict(self.encoder)
        return args | {"encoder": {"img_size": self.img_size} | encoder, "teacher_dim": teacher_dim}


class TrainConfig(LoopConfig):
    """How it is trained. A batch is of pairs (the published 2,048 counts both images of each); the contrastive loss
    sees one of the accumulated batches at a time; the published recipe does not clip.
    """

    #: learning rate for 256 images; both images of a pair count
    base_lr: float = Field(default=1.5e-4, gt=0)
    min_lr: float = Field(default=0.0, ge=0)
    warmup_epochs: float = Field(default=15, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    #: of the frozen teacher: "same" as ``precision``; "bf16"; "auto" is bf16 where the device multiplies it natively
    teacher_precision: Literal["auto", "same", "bf16"] = "auto"
    #: random crop (share of the area) and flip; False takes whole images
    augment: bool = True
    #: "pair", as published: every pair has its own mask, the same for both images. The contrastive loss can then tell
    #: pairs by where their visible patches are; "batch" gives all pairs of a batch one mask
    masks: Literal["pair", "batch"] = "pair"
    #: batches of each validation
    validate_batches: int = Field(default=8, ge=2)


class Recipe(BaseRecipe):
    """One pretraining run."""

    name: str = Field(default="codemae", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


R = TypeVar("R", bound=BaseRecipe)


def shipped_recipes(task: str = "") -> list[str]:
    """Names of the recipes that come with the package: of pretraining, or in the folder of a task."""
    folder = files("codemae_train") / "recipes" / task
    if not folder.is_dir():
        return []
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of pretraining from a file or a shipped name, changed by ``key=value`` arguments.

    Args:
        source: "base", "ablation", "large", "small", or a YAML file.
        overrides: such as ``train.epochs=10`` or ``model.cross=false``; values are YAML.

    Raises:
        InputError: no such recipe, not YAML, an unknown key (with the nearest known one), or a value of the wrong kind.
    """
    return make_recipe(Recipe, read_recipe(source), overrides)


def read_recipe(source: str | Path, tasks: Sequence[str] = ("",)) -> dict[str, Any]:
    """The content of a recipe, not checked yet.

    Args:
        source: a YAML file, or the name of a shipped recipe, ``base`` or ``damage/bright``.
        tasks: folders of shipped recipes that ``source`` may be in.

    Raises:
        InputError: no such recipe, or not a YAML mapping.
    """
    path = Path(source)
    known = [f"{task}/{name}" if task else name for task in tasks for name in shipped_recipes(task)]
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"there is no recipe {path}", hint=f"shipped recipes: {', '.join(known)}")
        try:
            text = read_text(path, "utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the recipe {source} cannot be read", found=str(error), expected="text in UTF-8"
            ) from error
    elif str(source) in known:
        text = (files("codemae_train") / "recipes" / f"{source}.yaml").read_text(encoding="utf-8")
    else:
        near = difflib.get_close_matches(str(source), known, n=1)
        raise InputError(
            f"unknown recipe {str(source)!r}",
            expected=f"{', '.join(known)}, or a file ending in .yaml",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    try:
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of day 99 is a ValueError
        raise InputError(f"the recipe {source} is not YAML", found=str(error).replace("\n", " ")[:500]) from error
    if not isinstance(content, dict):
        raise InputError(f"the recipe {source} is not a mapping", expected="data:, model: and train: with keys below")
    return content


def make_recipe(kind: type[R], content: dict[str, Any], overrides: Sequence[str] = ()) -> R:
    """Check a recipe's content, changed by ``key=value`` arguments.

    Raises:
        InputError: an unknown key (with the nearest known one), or a value of the wrong kind.
    """
    for override in overrides:
        _apply(content, override)
    check_keys(content, kind)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"the recipe has a value that cannot be used at {'.'.join(str(p) for p in first['loc'])}",
            found=repr(first.get("input")),
            expected=first["msg"],
        ) from error


def check_keys(
    content: Mapping[str, Any], model: type[BaseModel], prefix: str = "", root: type[BaseModel] | None = None
) -> None:
    """Refuse keys that ``model`` does not have.

    Raises:
        InputError: names the key and the nearest known one.
    """
    root = root or model
    for key, value in content.items():
        if key not in model.model_fields:
            everywhere = [f"{part}.{name}" for part, field in root.model_fields.items() for name in _fields(field)]
            full = f"{prefix}{key}"
            near = difflib.get_close_matches(full, everywhere, n=1) or [k for k in everywhere if k.endswith(f".{key}")]
            raise InputError(
                f"the recipe has an unknown key {full!r}",
                expected=", ".join(f"{prefix}{k}" for k in model.model_fields),
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
        inner = model.model_fields[key].annotation
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, BaseModel):
            check_keys(value, inner, f"{prefix}{key}.", root)


def _fields(field: Any) -> list[str]:
    inner = field.annotation
    return list(inner.model_fields) if isinstance(inner, type) and issubclass(inner, BaseModel) else []


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r} is not an override", expected="key=value, such as train.epochs=10")
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise InputError(f"{override!r} is not an override", found=f"{parent} is a value", expected="a section")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(
            f"{override!r} is not an override",
            found=str(error).splitlines()[0],
            expected="a YAML value, such as train.betas=[0.9,0.95]; quote it for the shell",
        ) from error


def recipe_text(recipe: BaseRecipe) -> str:
    """The recipe as YAML, every value spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)

"""Models by name: bundled ones, the user's folder, and files on the Hugging Face hub."""

from __future__ import annotations

import difflib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from codemae_geo.errors import ModelError
from codemae_geo.weights.contract import read_contract

if TYPE_CHECKING:
    from codemae_geo.weights.package import ModelPackage

#: the model that `codemae damage` takes when none is named
DEFAULT_DAMAGE_MODEL = "damage-tiny-optical"

BUNDLED = Path(__file__).parent / "bundled"
#: packages to try that come with a checkout of the repository, and not with the wheel
TO_TRY = ("buildings-tiny-optical", "damage-tiny-sar-demo")


@dataclass(frozen=True)
class KnownModel:
    """A model that can be asked for by name."""

    name: str
    path: Path
    origin: str


def user_folder() -> Path:
    """Where a user keeps packages: ``$CODEMAE_MODELS``, else ``~/.codemae/models``."""
    return Path(os.environ.get("CODEMAE_MODELS") or Path.home() / ".codemae" / "models")


def known_models() -> list[KnownModel]:
    """All packages that can be asked for by name; the user's folder wins over a bundled model of the same name."""
    found: dict[str, KnownModel] = {}
    for folder, origin in ((BUNDLED, "bundled"), (user_folder(), "user")):
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
            name = path.stem.replace("_", "-")
            found[name] = KnownModel(name, path, origin)
        for path in sorted(folder.glob("*.onnx")) if folder.is_dir() else ():
            name = path.stem.replace("_", "-")  # an exported model whose package is elsewhere
            if not path.with_suffix(".safetensors").exists() and _task_of(path) is not None:
                found[name] = KnownModel(name, path, origin)
    return sorted(found.values(), key=lambda m: m.name)


def cached_models() -> list[KnownModel]:
    """Packages that an earlier run fetched from the hub, each by the address that names it without the network."""
    try:
        from huggingface_hub import constants, scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:  # an installation without it has fetched nothing
        return []
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError, ValueError):
        return []
    found = []
    for repository in repositories:
        for revision in repository.revisions:
            for file in revision.files:
                if file.file_path.suffix != ".safetensors":
                    continue
                try:
                    read_contract(file.file_path)
                except ModelError:  # of another program
                    continue
                address = f"hf:{repository.repo_id}@{revision.commit_hash}"
                name = address if file.file_name == "model.safetensors" else f"{address}/{file.file_name}"
                found.append(KnownModel(name, file.file_path, "hub cache"))
    return sorted(found, key=lambda m: m.name)


def resolve(model: str | Path, *tasks: str) -> Path:
    """The package file that ``model`` names.

    Args:
        model: a file; a known name; or ``hf:OWNER/REPO@REVISION[/FILE]`` (the revision is a must: a name that moves is
            not a model; FILE defaults to ``model.safetensors``).
        tasks: what the model may be for, anything without one; models for something else are not offered in place of
            an unknown name.

    Raises:
        ModelError: no such file or name; the nearest known name is offered.
    """
    text = os.fspath(model)
    if text.startswith("hf:"):
        return _from_hub(text)
    if Path(text).exists():
        return Path(text)
    names = {m.name: m.path for m in known_models()}
    if text in names:
        return names[text]
    if text in TO_TRY:
        raise ModelError(
            f"the model {text} is not part of this installation",
            expected="a checkout of the repository, which has it in codemae_geo/weights/bundled",
            hint=f"copy its files from there into {user_folder()}",
        )
    if Path(text).suffix or os.sep in text or "/" in text:
        raise ModelError(f"there is no model file {text}", hint="codemae models list shows the models by name")
    names = {name: path for name, path in names.items() if not tasks or _task_of(path) in tasks}
    near = difflib.get_close_matches(text, names, n=1)
    raise ModelError(
        f"no model is called {text!r}",
        expected=", ".join(names) or (f"the file of a model for {' or '.join(tasks)}" if tasks else "a file"),
        hint=f"did you mean {near[0]!r}?" if near else "codemae models list shows the models by name",
    )


def models_for(task: str) -> list[str]:
    """Names of the known models for a task."""
    return [m.name for m in known_models() if _task_of(m.path) == task]


def _task_of(path: Path) -> str | None:
    try:
        return read_contract(path).task
    except ModelError:
        return None


def load_model(model: str | Path, *tasks: str) -> ModelPackage:
    """Load a model package by file, name or hub address, see :func:`resolve`.

    Examples:
        >>> from codemae_geo import load_model
        >>> load_model("damage-tiny-optical").contract.task
        'damage'
    """
    from codemae_geo.weights.package import load_package

    return load_package(resolve(model, *tasks))


def _hub_answers(seconds: float = 5.0) -> bool:
    """Whether the hub can be reached; behind a proxy that is for the client to find out."""
    from huggingface_hub import constants

    place = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or place.hostname is None:
        return False
    if place.scheme in getproxies():
        return True
    try:
        socket.create_connection((place.hostname, place.port or 443), seconds).close()
    except OSError:
        return False
    return True


def _from_hub(address: str) -> Path:
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)@([\w.-]+)(?:/(.+))?", address)
    if match is None:
        raise ModelError(
            f"{address!r} is not a hub address",
            expected="hf:OWNER/REPO@REVISION or hf:OWNER/REPO@REVISION/FILE.safetensors",
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(
            f"{address} is fetched by huggingface_hub, which is not installed",
            found=str(error),
            hint="pip install 'codemae-geo[hub]', or name a local file",
        ) from error
    repo, revision, file = match.groups()
    alone = not _hub_answers()  # the client tries for half a minute before it says that there is no network
    try:
        return Path(hf_hub_download(repo, file or "model.safetensors", revision=revision, local_files_only=alone))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        unreachable = "the hub cannot be reached, and nothing of that name and revision was fetched before"
        raise ModelError(
            f"{address} cannot be fetched",
            found=unreachable if alone else str(error).splitlines()[0],
            hint="check the address and the network, or name a local file",
        ) from error

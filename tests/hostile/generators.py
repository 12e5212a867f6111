"""Seeded makers of hostile files: a good file of each kind, broken in its structure, its values or its bytes.

Each maker gives ``(words, broken)``: the words of a command line that reads the file, and whether the file is surely
broken. What is not sure (a value that was changed into another good one, a byte in the middle of pixels) may be taken
or refused, but never crash, hang, fill the memory or leave half an output.
"""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

Made = tuple[list[Any], bool]
#: values that no field expects
ODD: list[Any] = [
    None, True, -1, 0, 1e308, 10**400, float("nan"), float("inf"), "", "\x00", "a\x00b", "\ud800", "\x1b[2J\x1b]0;owned\x07",  # noqa: E501
    "x" * 300, "x" * 100_000, "../../../etc/passwd", "/etc/passwd", "/vsicurl/http://127.0.0.1:9/x.tif", "<VRTDataset/>",  # noqa: E501
    "EPSG:99999999", [], {}, [[]], [None], {"": None}, [[[[1]]]], [1] * 10_000, "\u202e", "%s%n", "'", '"', "\\", "C:\\x",  # noqa: E501
]  # fmt: skip


@dataclass
class Good:
    """Good files to start from."""

    pre: Path
    post: Path
    classes: Path
    houses: Path
    damage: Path
    segmenter: Path
    encoder: Path
    onnx: Path
    #: a finished training run, and the words that made it
    run: Path
    trained: list[Any]
    #: what a killed map leaves beside its output ``out``, and the words that began it
    left: Path
    mapped: list[Any]


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy of JSON with one to three places changed, dropped, doubled, swapped or wrapped."""
    whole = {"root": copy.deepcopy(value)}
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        todo: list[Any] = [whole]
        while todo:
            node = todo.pop()
            pairs = list(node.items() if isinstance(node, dict) else enumerate(node))
            places += [(node, key) for key, _ in pairs]
            todo += [child for _, child in pairs if isinstance(child, dict | list)]
        node, key = rng.choice(places)
        match rng.randrange(6):
            case 0 | 1 | 2:
                node[key] = copy.deepcopy(rng.choice(ODD))
            case 3 if node is not whole:
                del node[key]
            case 4:
                node[key] = [node[key]]
            case _:
                other, at = rng.choice(places)
                if at in (other if isinstance(other, dict) else range(len(other))):
                    node[key] = copy.deepcopy(other[at])
        if not whole:
            whole = {"root": None}
    return whole["root"]


def nested(depth: int, rng: random.Random) -> str:
    """JSON of lists or objects, nested deep."""
    return "[" * depth + "]" * depth if rng.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth


def bytes_broken(data: bytes, rng: random.Random) -> bytes:
    """Cut, flipped, filled, doubled or encoded in another way."""
    out = bytearray(data)
    match rng.randrange(7):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            for _ in range(rng.randint(1, 30)):
                out[rng.randrange(len(out))] = rng.randrange(256)
        case 2:
            at = rng.randrange(len(out))
            out[at : at + rng.randrange(200)] = bytes(rng.randrange(200))
        case 3:  # the header, where it hurts
            for _ in range(rng.randint(1, 8)):
                out[rng.randrange(min(len(out), 400))] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        case 4:
            return data + data
        case 5:
            return b"\xff\xfe" + data.decode("latin-1").encode("utf-16-le")
        case _:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(2000)))
    return bytes(out)


def write_json(path: Path, value: Any, rng: random.Random) -> Path:
    """JSON, sometimes broken as text."""
    dice = rng.random()
    if dice < 0.08:
        path.write_text(nested(rng.choice([50, 900, 5_000, 200_000]), rng))
    elif dice < 0.2:
        path.write_bytes(bytes_broken(json.dumps(value).encode(), rng))
    else:
        path.write_text(json.dumps(mutated(value, rng)))
    return path


# ---------------------------------------------------------------------------------------------------- kinds


def request(good: Good, folder: Path, rng: random.Random) -> Made:
    arguments = {"model": str(good.segmenter), "scene": [str(good.pre)], "output": str(folder / "out"), "dry_run": True}
    whole = {"protocol": 1, "command": "predict", "arguments": arguments}
    return ["engine", write_json(folder / "request.json", whole, rng)], False


def stac(good: Good, folder: Path, rng: random.Random) -> Made:
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "scene", "bbox": [9, 48, 10, 49],
        "geometry": {"type": "Polygon", "coordinates": [[[9, 48], [10, 48], [10, 49], [9, 49], [9, 48]]]},
        "properties": {"datetime": "2024-01-01T00:00:00Z", "proj:epsg": 32615, "proj:transform": [1, 0, 0, 0, -1, 0]},
        "links": [{"rel": "self", "href": "https://example.com/item.json"}], "stac_extensions": [],
        "assets": {"visual": {"href": str(good.pre), "type": "image/tiff; application=geotiff", "roles": ["data"]}},
    }  # fmt: skip
    words = ["predict", good.segmenter, write_json(folder / "item.json", item, rng), "--dry-run", "-o", folder / "out"]
    return words, False


def recipe(good: Good, folder: Path, rng: random.Random) -> Made:
    path = folder / "recipe.yaml"
    whole = {
        "data": {"kind": "scenes", "optical": "nowhere", "sar": "nowhere", "workers": 0},
        "model": {"encoder": {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 4, "num_heads": 2}},
        "train": {"batch": 4, "epochs": 1, "accelerator": "cpu", "devices": 1, "precision": "32-true"},
    }
    dice = rng.random()
    if dice < 0.15:
        path.write_bytes(bytes_broken(yaml.safe_dump(whole).encode(), rng))
    elif dice < 0.25:
        path.write_text(nested(rng.choice([100, 3_000]), rng))
    elif dice < 0.3:
        path.write_text(
            "a: &a [x, x]\n" + "".join(f"b{i}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20))
        )
    elif dice < 0.35:
        path.write_text("a: &a {b: *a}\n")
    else:
        path.write_text(json.dumps(mutated(whole, rng)))  # JSON is YAML
    return ["pretrain", path, "--dry-run", "-o", folder / "run"], True  # its folders are nowhere


def vector(good: Good, folder: Path, rng: random.Random) -> Made:
    square = [[366010.0, 4103970.0], [366020.0, 4103970.0], [366020.0, 4103980.0], [366010.0, 4103970.0]]
    collection = {
        "type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32615"}},
        "features": [
            {"type": "Feature", "properties": {"a": 1, "class": "x"}, "geometry": {"type": "Polygon", "coordinates": [square]}},  # noqa: E501
            {"type": "Feature", "properties": {}, "geometry": None},
        ],
    }  # fmt: skip
    kind = rng.choice(["geojson", "gpkg", "csv", "jsonl", "parquet", "kml", "shp"])
    path = folder / f"houses.{kind}"
    if kind == "geojson":
        write_json(path, collection, rng)
    elif kind == "jsonl":
        features = [json.dumps(mutated(f, rng)) for f in collection["features"] * 3]
        path.write_text("\n".join(features))
    elif kind == "csv":
        wkt = "POLYGON((9 48,9.1 48,9.1 48.1,9 48))"
        cells = [
            wkt,
            wkt.replace("9.1", "nan"),
            wkt[:-10],
            "",
            "POINT(1 2)",
            "x" * 50,
            wkt.replace("9 48", "1e400 0"),
            "\x00",
            wkt,
        ]
        rows = [f'1,2,"{rng.choice(cells)}"' for _ in range(4)]
        path.write_text("\n".join(["latitude,longitude,geometry", *rows]), encoding="utf-8")
    else:
        path.write_bytes(bytes_broken(good.houses.read_bytes(), rng))
    return ["buildings", good.classes, "--classes", "a,b", "--footprints", path, "-o", folder / "table.gpkg"], False


def aoi(good: Good, folder: Path, rng: random.Random) -> Made:
    ring = [[366000.0, 4103950.0], [366030.0, 4103950.0], [366030.0, 4104000.0], [366000.0, 4103950.0]]
    shape = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    whole = {"type": "FeatureCollection", "features": [shape],
             "crs": {"type": "name", "properties": {"name": "EPSG:32615"}}}  # fmt: skip
    path = write_json(folder / "area.geojson", whole, rng)
    return ["predict", good.segmenter, good.pre, "--aoi", path, "--dry-run", "-o", folder / "out"], False


def raster(good: Good, folder: Path, rng: random.Random) -> Made:
    kind = rng.choice(["tif", "vrt", "png", "jp2", "aux"])
    path = folder / f"scene.{kind if kind != 'aux' else 'tif'}"
    if kind == "vrt":
        band = (
            '<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource><SourceFilename relativeToVRT="{r}">{f}</SourceFilename>'  # noqa: E501
            "<SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
        )
        names = [
            str(good.pre),
            path.name,
            "/etc/passwd",
            "",
            "x" * 400,
            "\x1b[2J",
            "/vsistdin/",
            "../" * 40 + "etc/passwd",
        ]
        size = rng.choice([100, 0, -1, 10**12, 2**31])
        text = f'<VRTDataset rasterXSize="{size}" rasterYSize="100"><SRS>EPSG:32615</SRS>'
        text += f"<GeoTransform>{rng.choice(['366000,0.5,0,4104000,0,-0.5', 'nan,1,0,0,0,1', '0,0,0,0,0,0', '1e300,1,0,0,0,-1'])}"  # noqa: E501
        text += "</GeoTransform>"
        text += "".join(
            band.format(n=n, r=rng.choice("01"), f=rng.choice(names), b=rng.choice([1, 0, 99])) for n in (1, 2, 3)
        )
        path.write_text(text + ("</VRTDataset>" if rng.random() < 0.8 else ""))
    else:
        path.write_bytes(bytes_broken(good.pre.read_bytes(), rng))
    if kind == "aux":
        path.write_bytes(good.pre.read_bytes())
        text = "<PAMDataset><Metadata><MDI key='a'>\x1b[2J</MDI></Metadata></PAMDataset>"
        path.with_name("scene.tif.aux.xml").write_bytes(bytes_broken(text.encode(), rng))
    if rng.random() < 0.4:
        return ["info", path], False
    return ["predict", good.segmenter, path, "--dry-run", "-o", folder / "out"], False


def model(good: Good, folder: Path, rng: random.Random) -> Made:
    path = folder / "model.safetensors"
    data = good.segmenter.read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(bytes_broken(data, rng))
    else:
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        key = next(k for k in header["__metadata__"] if k != "format")
        contract = json.loads(header["__metadata__"][key])
        if rng.random() < 0.2:
            header = mutated(header, rng)
        else:
            header["__metadata__"][key] = json.dumps(mutated(contract, rng))
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    if rng.random() < 0.5:
        return ["models", "card", path], False
    return ["predict", path, good.pre, "--dry-run", "-o", folder / "out"], False


def class_table(good: Good, folder: Path, rng: random.Random) -> Made:
    whole = [
        {"value": 0, "name": "none", "color": "#000000", "background": True},
        {"value": 1, "name": "tree", "color": "#00ff00"},
    ]
    path = write_json(folder / "classes.json", whole, rng)
    words = ["buildings", good.classes, "--classes", path, "--footprints", good.houses, "-o", folder / "table.gpkg"]
    return words, False


def archive(good: Good, folder: Path, rng: random.Random) -> Made:
    """An archive of a public dataset, unpacked when the dataset is opened."""
    root = folder / "data"
    root.mkdir()
    names = [
        "a.png",
        "../out.png",
        "/abs.png",
        "a\x00b.png",
        "x" * 300,
        "C:\\x.png",
        "a/../../b",
        "ü.png",
        "CON",
        "a:b",
        "\x1b[2J",
    ]
    data = io.BytesIO()
    if rng.random() < 0.5:
        with zipfile.ZipFile(data, "w") as bundle:
            for name in rng.sample(names, 3):
                info = zipfile.ZipInfo(name)
                info.filename = name
                bundle.writestr(info, b"x")
        file = "EuroSAT.zip"
    else:
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name in rng.sample(names, 3):
                member = tarfile.TarInfo(name)
                member.type = rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
                member.linkname = "/etc/passwd"
                tar.addfile(member)
        file = "EuroSAT.tar"
    content = data.getvalue()
    (root / file).write_bytes(bytes_broken(content, rng) if rng.random() < 0.3 else content)
    return ["extract", root / file, root], False


def labels(good: Good, folder: Path, rng: random.Random) -> Made:
    """Labels of one's own: features and rasters, for every command that takes them."""
    x, y = 366005.0, 4103990.0
    rings = [[[x + 8 * i, y], [x + 8 * i + 6, y], [x + 8 * i + 6, y - 6], [x + 8 * i, y]] for i in range(6)]
    words = ["no-damage", "destroyed", "damaged"]
    collection = {
        "type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32615"}},
        "features": [
            {"type": "Feature", "properties": {"class": words[i % 3]}, "geometry": {"type": "Polygon", "coordinates": [r]}}  # noqa: E501
            for i, r in enumerate(rings)
        ],
    }  # fmt: skip
    path = folder / "labels.geojson"
    dice = rng.random()
    if dice < 0.5:
        write_json(path, collection, rng)
    elif dice < 0.6:  # more classes than a map has values for
        feature = collection["features"][0]
        names = [str(i) * rng.choice([1, 100]) for i in range(rng.choice([255, 256, 300, 2_000]))]
        collection["features"] = [{**feature, "properties": {"class": name}} for name in names]
        path.write_text(json.dumps(collection))
    elif dice < 0.7:  # numbers that are none, rings that do not close, shapes of other kinds
        shapes = [
            {"type": "Polygon", "coordinates": [[[x, y], [x + 6, float("nan")], [x + 6, y - 6], [x, y]]]},
            {"type": "Polygon", "coordinates": [[[x, y], [x + 6, float("inf")], [x + 6, y - 6], [x, y]]]},
            {"type": "Polygon", "coordinates": [[[x, y], [x + 6, y], [x + 6, y - 6]]]},
            {"type": "Polygon", "coordinates": [[]]}, {"type": "Polygon", "coordinates": []},
            {"type": "Point", "coordinates": [float("nan"), y]}, {"type": "Point", "coordinates": []},
            {"type": "LineString", "coordinates": [[x, y], [x + 6, y]]},
            {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [x, y]}]},
        ]  # fmt: skip
        for feature in collection["features"]:
            feature["geometry"] = rng.choice(shapes)
        path.write_text(json.dumps(collection))
    elif dice < 0.8:
        path = folder / "labels.tif"
        path.write_bytes(bytes_broken(good.classes.read_bytes(), rng))
    elif dice < 0.9:
        path = folder / "labels.gpkg"
        path.write_bytes(bytes_broken(good.houses.read_bytes(), rng))
    else:
        path = folder / "labels.csv"
        cells = ["POINT(366010 4103980)", "POINT(nan nan)", "POLYGON((1 2", "", "\x00", "x" * 50]
        path.write_text("\n".join(["class,geometry", *(f'a,"{rng.choice(cells)}"' for _ in range(5))]))
    pair = ["--pre", good.pre, "--post", good.post]
    column = ["--column", rng.choice(["class", "class", "class", "", "\x1b[2J", "x" * 300])]
    match rng.randrange(4):
        case 0:
            words = ["finetune", "segmentation", "--images", good.pre, "--labels", path, *column, *TINY, "--dry-run"]
        case 1:
            words = ["finetune", "damage", *pair, "--labels", path, *column, *TINY, "--dry-run"]
        case 2:
            words = ["evaluate", good.damage, *pair, "--labels", path, *column]
        case _:
            words = ["adapt", *pair, "--footprints", good.houses, "--labels", path, *column, "--model", good.damage]
    return [*words, "-o", folder / "out"], False


#: what makes training small, and not learn at all
TINY = [
    "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 2, num_heads: 2, fpn_dim: 16}",
    *("model.img_size=32", "model.channels=16", "model.aux_channels=8", "train.precision=32-true", "train.batch=2"),
    *("train.accelerator=cpu", "train.devices=1", "train.epochs=1", "data.workers=0", "data.block=32"),
    *("data.samples=4", "augment.crop=32", "evaluate.window=32", "evaluate.stride=32", "train.validate_steps=1"),
]


def resumed(good: Good, folder: Path, rng: random.Random) -> Made:
    """A run directory of which one file has become another."""
    out = folder / "run"
    shutil.copytree(good.run, out)
    file = out / rng.choice(["checkpoint.pt", "checkpoint.pt", "run.json", "recipe.yaml", "log.csv"])
    dice = rng.random()
    if file.suffix == ".pt" and dice < 0.5:  # a sound file that holds other things
        state = torch.load(file, weights_only=True)
        key = rng.choice(list(state))
        state[key] = rng.choice([None, {}, [], "x", -1, float("nan"), torch.zeros(3), 10**30, {"a": torch.zeros(2)}])
        torch.save(state, file)
    elif dice < 0.6:
        file.unlink()
    elif dice < 0.65:
        file.unlink()
        file.symlink_to(file.name)
    elif file.suffix == ".json":
        write_json(file, json.loads(file.read_text()), rng)
    else:
        file.write_bytes(bytes_broken(file.read_bytes(), rng))
    return [*good.trained, "--resume", "-o", out], False


def journal(good: Good, folder: Path, rng: random.Random) -> Made:
    """What a killed map has left to go on with, or to be cleared away, changed."""
    for entry in good.left.iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy)(entry, folder / entry.name)
    (claim,) = folder.glob("*.codemae-run")
    inner = [p for p in folder.rglob("*") if p.is_file() and p != claim]
    file = rng.choice([claim, *inner])
    dice = rng.random()
    if file == claim and dice < 0.6:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines.append(
            {"output": rng.choice(["..", "/etc", "out", ""]), "publish": {"names": ["../a", "a"], "old": ["x"]}}
        )
        head, *rest = lines
        rest = [mutated(line, rng) for line in rest]
        file.write_text("\n".join(json.dumps(line) for line in [head, *rest]) + "\n")
    elif file.name == "run.json" and dice < 0.7:
        write_json(file, json.loads(file.read_text()), rng)
    elif dice < 0.8:
        file.write_bytes(bytes_broken(file.read_bytes() or b"x", rng))
    elif dice < 0.9:
        file.unlink()
    else:
        file.unlink()
        file.symlink_to(rng.choice([file.name, "/etc/passwd", "/dev/zero", ".."]))
    (folder / "precious.txt").write_text("mine")
    if rng.random() < 0.3:
        return ["clean", folder, *rng.choice([[], ["--dry-run"], ["--force"]])], False
    return [*good.mapped, "-o", folder / "out", *rng.choice([["--resume"], ["--resume"], []])], False


#: what `models wrap` is told of the input of a network of three bands
INPUT = ["--family", "optical", "--bands", "red,green,blue", "--unit", "uint8", "--mean", "0,0,0", "--std", "1,1,1"]


def wrapped(good: Good, folder: Path, rng: random.Random) -> Made:
    """An ONNX model and the contract that was written for it."""
    onnx, contract = folder / "model.onnx", folder / "contract.json"
    shutil.copy(good.onnx, onnx)
    whole = json.loads(good.onnx.with_suffix(".json").read_text())
    dice = rng.random()
    if dice < 0.35:
        onnx.write_bytes(bytes_broken(onnx.read_bytes(), rng))
    elif dice < 0.5:  # weights that lie in another file
        import onnx as library

        net = library.load(onnx)
        tensor = net.graph.initializer[0]
        library.external_data_helper.set_external_data(
            tensor, location=rng.choice(["/etc/passwd", "../../../etc/passwd", "a\x00b", "missing", ".", "model.onnx"])
        )
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        onnx.write_bytes(net.SerializeToString())
    write_json(contract, whole, rng) if dice > 0.5 else contract.write_text(json.dumps(whole))
    if rng.random() < 0.3:
        classes = rng.choice(["a,b,c", "a,b", ",".join(map(str, range(300))), "a,,c", "\x1b[2J,b,c", "x" * 3000])
        return ["models", "wrap", onnx, *INPUT, "--classes", classes, "-o", folder / "made.json"], False
    return ["predict", onnx, good.pre, "--contract", contract, "--dry-run", "-o", folder / "out"], False


def images(good: Good, folder: Path, rng: random.Random) -> Made:
    """A folder of images by class, for a probe, or to be measured, packed or indexed."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (40, 40), (90, 10, 10)).save(data, "PNG")
    root = folder / "images"
    for name in rng.sample(["a", "b", "\x1b[2J", "x" * 200, "ü", "c" * 100], 2):
        (root / name).mkdir(parents=True)
        for i in range(6):
            (root / name / f"{i}.png").write_bytes(data.getvalue())
    files = sorted(root.rglob("*.png"))
    for file in rng.sample(files, 2):
        match rng.randrange(4):
            case 0:
                file.unlink()
                file.symlink_to(rng.choice([file.name, "/dev/null", "gone.png"]))
            case 1:  # a picture that claims to be huge
                content = bytearray(data.getvalue())
                content[16:24] = struct.pack(">II", rng.choice([0, 60_000, 2**31 - 1]), 60_000)
                content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
                file.write_bytes(content)
            case _:
                file.write_bytes(bytes_broken(data.getvalue(), rng))
    match rng.randrange(4):
        case 0:
            return ["data", "stats", root], False
        case 1:
            return ["data", "index", root, "-o", folder / "index.parquet"], False
        case _:
            options = ["--seeds", 1, "--size", 32, "--epochs", 1, "--method", "knn", "--cache", folder.parent / "cache"]
            return ["probe", good.encoder, root, *options], False


KINDS: dict[str, Callable[[Good, Path, random.Random], Made]] = {
    "request": request, "stac": stac, "recipe": recipe, "vector": vector, "aoi": aoi, "raster": raster, "model": model,
    "classes": class_table, "archive": archive, "labels": labels, "resumed": resumed, "journal": journal,
    "wrapped": wrapped, "images": images,
}  # fmt: skip

"""An engine that answers with files made before: the request is kept, the outputs are copied, the events are true ones.

Started as ``python replay.py FOLDER engine REQUEST.json``. FOLDER holds ``outputs/`` and ``result.json``; the last
request is left in ``request.json``. A file ``wait`` makes it wait after half of the work, a file ``fail`` makes it fail
with the error event in it.
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def watch():
    while os.read(0, 4096):
        pass
    os._exit(130)


def main():
    folder = Path(sys.argv[1])
    request = json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    (folder / "request.json").write_text(json.dumps(request))
    threading.Thread(target=watch, daemon=True).start()
    say("hello", protocol=1, version="0.1.0", pid=os.getpid(), device="auto")
    (folder / "pid").write_text(str(os.getpid()))
    if (folder / "fail").exists():
        say("error", **json.loads((folder / "fail").read_text()))
        return 1
    say("log", level="info", message="device: replayed")
    say("stage", name="predict", total=4)
    for done in range(1, 5):
        say("progress", stage="predict", done=done, total=4, eta_s=0.1)
        while done == 2 and (folder / "wait").exists():
            time.sleep(0.05)
    say("warning", code="gsd", message="the pixels are large")
    result = json.loads((folder / "result.json").read_text())
    outputs = {}
    if "output" in request["arguments"]:
        out = Path(request["arguments"]["output"])
        source = folder / "outputs"
        if out.suffix == ".gpkg":  # one file, as of `buildings`
            shutil.copy(source / "damage.gpkg", out)
            outputs = {"buildings": str(out)}
        else:
            shutil.copytree(source, out)
            outputs = {kind: str(out / name) for kind, name in result["outputs"].items()}
    say("result", outputs=outputs, summary=result["summary"])
    return 0


sys.exit(main())

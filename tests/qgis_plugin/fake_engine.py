"""Stands in for the toolkit: speaks protocol v1 and misbehaves on demand.

Run as ``python fake_engine.py engine REQUEST.json --delete-request`` or with the arguments of a short command. The
request's command says what to do; its arguments are echoed in the summary.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def write_whole(path: str, pid: int) -> None:
    """The file appears with its content: a reader that sees it can read it."""
    part = Path(f"{path}.part")
    part.write_text(str(pid))
    part.replace(path)


def end_with_stdin() -> None:
    """What the toolkit does: the end of stdin ends the process."""

    def watch() -> None:
        while os.read(0, 4096):  # unbuffered: a lock held at exit would abort
            pass
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def engine(request: dict) -> int:
    command, arguments = request["command"], request["arguments"]
    if command == "old":
        print("Error: No such command 'engine'.", file=sys.stderr)
        return 2
    if command == "absent":
        print("ModuleNotFoundError: No module named codemae_cli", file=sys.stderr)
        return 1
    if command == "garbled":
        print("Fatal: libtorch.so is not what it was", file=sys.stderr)
        return 127
    if command != "stubborn":
        end_with_stdin()
    say("hello", protocol=arguments.get("protocol", 1), version="9.9.9", pid=os.getpid(), device="auto")
    if command in ("silent", "stubborn"):
        if "child" in arguments:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            write_whole(arguments["child"], child.pid)
        write_whole(arguments["ready"], os.getpid())
        time.sleep(60)
    if command == "error":
        print("a line on stderr", file=sys.stderr)
        say("error", code="input", message="the scenes do not overlap", hint="check them", found="A", expected="B")
        return 1
    if command == "dies":
        print("terminate called without an active exception", file=sys.stderr)
        os.kill(os.getpid(), arguments["signal"])
    if command == "mute":
        return 0
    print("Downloading something ...")
    say("stage", name="predict", total=2)
    say("progress", stage="predict", done=1, total=2, eta_s=0.5, novelty="a field of the future")
    say("future", what="an event of the future")
    say("warning", code="gsd", message="pixels are large")
    outputs = {}
    if "output" in arguments:
        folder = Path(arguments["output"])
        folder.mkdir(parents=True)
        (folder / "out.txt").write_text("done")
        outputs["text"] = str(folder / "out.txt")
    environment = {k: v for k, v in os.environ.items() if k.startswith(("PYTHON", "PROJ", "GDAL", "QT", "LD_"))}
    say("result", outputs=outputs, summary={"arguments": arguments, "environment": environment, "cwd": str(Path.cwd())})
    return 0


def main() -> int:
    if sys.argv[1] == "engine":
        request = Path(sys.argv[2])
        asked = json.loads(request.read_text(encoding="utf-8"))
        if "--delete-request" in sys.argv:
            request.unlink()
        return engine(asked)
    if sys.argv[1] == "doctor":
        report = {
            "version": os.environ.get("FAKE_VERSION", "0.1.0"),
            "devices": ["cpu"],
            "models": ["m"],
            "problems": [],
        }
        if "FAKE_PROTOCOL" in os.environ:
            report["protocol"] = int(os.environ["FAKE_PROTOCOL"])
        report["facts"] = {"device": "cpu, float32", "where": str(Path.home() / "secret")}
        print(json.dumps(report))
        return 0
    if sys.argv[1] == "sleep":
        time.sleep(60)
    if sys.argv[1] == "models":
        print(json.dumps({"models": [{"name": "m", "origin": "bundled", "path": os.environ["FAKE_MODEL"]}]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

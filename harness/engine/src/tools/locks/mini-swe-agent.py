# Starts mini-swe-agent without anybody at the keyboard: the instruction on stdin, everything else as one JSON argument.
# Run as `python -I -S`, so that nothing of the image's own Python is seen.
import json
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "site"))

if sys.argv[1:] == ["--version"]:
    from importlib.metadata import version

    print("mini-swe-agent", version("mini-swe-agent"))
    sys.exit(0)

options = json.loads(sys.argv[1])
task = sys.stdin.buffer.read().decode("utf-8", "replace")
# What its commands read ends at once.
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

from pathlib import Path

from minisweagent.run import mini

specs = [str(mini.DEFAULT_CONFIG_FILE)] + options["config"]
mini.main(
    model_name=options["model"],
    model_class=options["model_class"],
    # The interactive one asks somebody for more when a limit is reached.
    agent_class="default",
    environment_class=None,
    task=task,
    yolo=True,
    cost_limit=options["cost_limit"],
    config_spec=specs,
    output=Path(options["output"]),
    exit_immediately=True,
)

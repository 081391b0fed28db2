"""A new user's hour, really run at toy size: ``python tests/walkthrough.py`` writes it as ``data/walkthrough.md``.

The commands run in a copy of the checkout, in a temporary folder, with the environment of this interpreter. A command
that ends otherwise than is said here stops the script. The page holds nothing that differs between machines: no times,
digests, progress bars or replies of a model.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "data" / "walkthrough.md"
DOCUMENTS = ("README.md", "data/elsewhere.md", "data/agent_h.md")  # of which every command is in the page
MOST_SECONDS = 900  # of one command: a machine that does nothing else needs less than 30
PROGRAMS = r"(?:make|python|jupyter|pip|conda|accelerate|source) "
# What differs between machines and runs, with what stands for it in the page.
VARYING = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"[^\n]*\r", ""),  # what a carriage return writes over
    (r"(?m)^.*\[\d+:\d\d.*\n?", ""),  # progress bars
    (r"(?m)^\d\d:\d\d:\d\d .*\n?", ""),  # how long it will take
    (r"\[Makefile:\d+: (\w+)\]", r"[\1]"),
    (r"Makefile:\d+: ", "Makefile: "),
    (r"\b[\d.]+ s\b", "… s"),
    (r"-[0-9a-f]{12}\b", "-…"),
)
# Commands of DOCUMENTS that are not run, and why.
NOT_RUN = {
    "make test": "three minutes; CI runs it before it makes this page",
    "make lab": "opens a browser and stays",
    "make bench": "installs other tools from the network and measures for an hour; see `make -n bench` below",
    "python -m venv .venv": "the environment is there already",
    'python -m pip install -e ".[dev]"': "needs a network; this is what `make` does the first time",
    "python -m pytest": "three minutes, as `make test`",
    "conda env create -f environment.yml": "needs a network and conda",
    "jupyter nbconvert --to notebook --execute --output-dir executed notebooks/*.ipynb":
        "minutes: it runs every notebook, as `make figures`",
    "pip install .": "needs a network; a test of the kit builds the wheel and uses it",
    'pip install -e ".[liger]"': "needs a network and a card",
    'pip install -e ".[lagent]"': "needs a network",
    'make figures ONLY=05 DATA="my_runs/*.jsonl" MODEL=Qwen/Qwen3-0.6B':
        "needs a network; above, a folder takes the place of the name on the hub",
    "python -m flanlib.benchmarks.agent_h ask --samples agent_h.jsonl --model Qwen/Qwen3-0.6B --out replies.jsonl":
        "needs a network; above, it asks the model of a folder",
    "make figures FRESH=1": "hours",
    "make figures ONLY=04": "hours",
    "python -m flanlib.benchmarks.agent_h build --source glaive-function-calling-v2.json --out agent_h.jsonl":
        "needs the file",
    "python -m flanlib.bench.gpu": "needs a card",
    "accelerate launch --num_processes 4 -m flanlib.batch --only 05": "needs four cards",
    "accelerate launch --num_processes 4 --use_fsdp --fsdp_version 1 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_use_orig_params false --fsdp_cpu_ram_efficient_loading false --fsdp_state_dict_type FULL_STATE_DICT "
    "-m flanlib.batch --only 05": "needs four cards",
    "python -m flanlib.benchmarks.bfcl": "needs a network",
}  # fmt: skip


def documented() -> list[str]:
    """List the commands of DOCUMENTS."""
    return commands("\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS))


def commands(text: str) -> list[str]:
    """List the commands of a page in Markdown, from code blocks and from code in the text, each once.

    Lines that end with a backslash are joined, comments and repeated spaces left out.

    >>> commands("Say `make test`:\\n```\\nmake figures \\\\\\n  A=1  # all\\n```")
    ['make figures A=1', 'make test']
    """
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    plain = (" ".join(re.sub(r"\s#\s.*", "", line).split()) for line in lines)
    return list(dict.fromkeys(line for line in plain if re.match(PROGRAMS, line)))


def occurs(command: str, page: str) -> bool:
    """Tell whether a page runs a command or says why not. Words in capitals stand for any, and more words may follow.

    >>> occurs("python -m x score DATA", "$ python -m x score rows.json --out y"), occurs("make test", "$ make tests")
    (True, False)
    """
    words = (r"\S+" if re.fullmatch("[A-Z]+", word) else re.escape(word) for word in command.split())
    return re.search(rf"(?m)^(?:\$ |\| `){' '.join(words)}(?=[ `]|$)", page) is not None


class Terminal:
    """Runs commands in a folder, and writes them down as a page in Markdown."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.page: list[str] = []

    def say(self, *paragraphs: str) -> None:
        """Write text."""
        self.page += [line for paragraph in paragraphs for line in (paragraph, "")]

    def show(self, command: str, output: str = "") -> None:
        """Write a command and its output."""
        self.page += ["```", f"$ {command}", *output.splitlines(), "```", ""]

    def run(self, command: str, *, ends: int = 0, keep: str = "", hide: str = "",
            interrupt: Callable[[], bool] | None = None) -> None:  # fmt: skip
        """Run a command and write down what a terminal shows.

        ``ends`` is its exit status. Of lines that do not match ``keep`` only a mark is left, as of what matches
        ``hide``. Ctrl-C is pressed as soon as ``interrupt()`` is true. Raises SystemExit where it ends otherwise.
        """
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as out:
            process = subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.environment, stdout=out,
                                       stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
            last = time.monotonic() + MOST_SECONDS
            while process.poll() is None:
                if interrupt and interrupt():
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: make gets it too
                    interrupt = None
                if time.monotonic() > last:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.02)
            out.seek(0)
            text = out.read()
        if process.returncode != ends or interrupt:
            raise SystemExit(f"{text}\n$ {command}\nended with {process.returncode}, expected {ends}"
                             + " after an interruption" * bool(interrupt))  # fmt: skip
        for pattern, mark in VARYING:
            text = re.sub(pattern, mark, text)
        self.show(command, cut(re.sub(hide, "…", text) if hide else text, keep))


def cut(text: str, keep: str = "") -> str:
    """Leave out empty lines and those that do not match a pattern, with a mark for each gap.

    >>> cut("one\\n\\ntwo\\nthree\\nfour", "one|four")
    'one\\n…\\nfour'
    """
    lines: list[str] = []
    for line in filter(None, map(str.rstrip, text.split("\n"))):
        shown = line if re.search(keep, line) else "…"
        lines += [shown] * (shown != "…" or lines[-1:] != ["…"])
    return "\n".join(lines)


def copy(folder: Path) -> dict[str, str]:
    """Copy the checkout as it is, with links to this interpreter's environment, and return the variables of a shell."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True)  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".installed":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".installed").touch()  # so that make does not install
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    kept = {name: value for name, value in os.environ.items() if not re.match("FLAN_|MAKE|MFLAGS|RANK$", name)}
    return kept | {
        "PATH": f"{folder / '.venv' / 'bin'}:{kept['PATH']}", "PYTHONPATH": str(folder), "TMPDIR": str(scratch),
        "FLAN_PRESET": "smoke", "FLAN_ONLY": "02", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}  # fmt: skip


def rows(path: Path, made: Iterator[object]) -> None:
    """Write rows as JSON Lines."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def loans() -> Iterator[dict[str, object]]:
    """Make trajectories of a library's assistant, in OpenAI's form, and at the end a row that is none."""
    tools = [{"type": "function", "function": {"name": name, "description": text, "parameters": {
        "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}}}
             for name, text in (("find_shelf", "Find the shelf of a book."), ("lend", "Lend a book for four weeks."))]
    for i, title in enumerate(f"{part} of {place}" for part in ("Birds", "Maps", "Trains", "Bridges", "Songs")
                              for place in ("Ulm", "Bonn", "Graz", "Bern", "Linz")):  # fmt: skip
        name, ask, seen, answer = (("find_shelf", f"Where is {title}?", f"shelf {i}", f"It is on shelf {i}."),
                                   ("lend", f"I take {title}.", f"due in week {i + 4}", "It is yours."))[i % 2]
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps({"title": title})}}
        yield {"tools": tools, "messages": [
            {"role": "user", "content": ask}, {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": seen}, {"role": "assistant", "content": answer}]}
    yield {"messages": [{"role": "user", "content": "Is anybody there?"}]}


def chats() -> Iterator[dict[str, object]]:
    """Make plain chat."""
    for word in ("Hello", "Good morning", "Good evening"):
        yield {"messages": [{"role": "user", "content": f"{word}!"}, {"role": "assistant", "content": f"{word}."}]}


def replies(prompts: Path) -> Iterator[dict[str, object]]:
    """Reply as a service might that calls the first tool it is offered, whatever is asked."""
    for row in map(json.loads, prompts.read_text(encoding="utf-8").splitlines()):
        calls = [{"id": "c", "type": "function", "function": {"name": tool["function"]["name"], "arguments": "{}"}}
                 for tool in row.get("tools", [])[:1]]
        message = {"role": "assistant", "content": None if calls else "I do not know."}
        yield {"id": row["id"], "reply": message | ({"tool_calls": calls} if calls else {})}


def finished(folder: Path) -> dict[Path, int]:
    """Return the finished parts of the cache, with the time of each."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("data/runs/*/manifest.json")}


def walk(here: Terminal) -> None:
    """Walk through the hour."""
    folder = here.folder
    here.say("## Install", "Each word of `make` installs first, if that has not been done. This takes a network and "
             "some minutes, so here is only what it would run:")
    (folder / ".venv" / ".installed").unlink()
    here.run("make -n figures", keep=r"-m (pip install|flanlib)")
    (folder / ".venv" / ".installed").touch()
    here.say("Everything below is run in that environment, at toy size and from notebook 02 alone: a tiny untrained "
             "model takes the place of SmolLM2, and its numbers mean nothing. Without the second line, the same "
             "commands give the real thing.")
    here.run("source .venv/bin/activate")
    here.show("export FLAN_PRESET=smoke FLAN_ONLY=02")  # see copy
    here.run("make help")

    here.say("## Figures")
    here.run("make figures")
    here.say("What was computed is kept in `data/runs/`, so one changed setting costs only what it changes; the "
             "pictures go to a folder of their own. The settings are options of the runner, too:")
    here.run("make figures SEEDS=0")
    here.run("python -m flanlib.batch --seeds 0", keep="02")

    here.say("## Own rows", "Twenty-five trajectories in the form of OpenAI's chat, a row that is none, and some plain "
             "chat. The first row:")
    rows(folder / "my_runs" / "library.jsonl", loans())
    rows(folder / "my_chat.jsonl", chats())
    here.run("head -n 1 my_runs/library.jsonl")
    here.run('make figures ONLY=05 DATA="my_runs/*.jsonl"')
    here.say("The same rows as token ids, for data of any size, and as a corpus for other trainers. Both tell what was "
             "dropped:")
    here.run("python -m flanlib.corpus.stream my_runs")
    here.run("python -m flanlib.corpus my_runs/*.jsonl my_chat.jsonl --out corpus")
    here.run("ls corpus")

    here.say("## A wrong path, a wrong word", "Settings are checked before anything is loaded.")
    here.run("make figures ONLY=05 DATA=nowhere.jsonl", ends=2)
    here.run("make figures SEED=0", ends=2)

    here.say("## Own model, Ctrl-C, and again", "`MODEL` takes any folder that transformers can load. Here it is a "
             "copy of the tiny model. Ctrl-C is pressed when the first part of the work is finished:")
    (folder / "my_model").mkdir()
    for path in next(folder.glob("data/runs/random-*")).iterdir():
        if path.name != "manifest.json":
            shutil.copyfile(path, folder / "my_model" / path.name)
    command, before = 'make figures ONLY=05 DATA="my_runs/*.jsonl" MODEL=my_model', finished(folder)
    here.run(command, ends=-signal.SIGINT, interrupt=lambda: len(finished(folder)) > len(before))
    kept = finished(folder)
    here.run(command)
    if not kept.items() <= finished(folder).items():
        raise SystemExit("what had been finished before Ctrl-C was computed again")
    here.say("The second run took what the first had finished.")

    here.say("## The model in plain transformers", "Notebook 05 left a folder in `data/exports/`. Its `call.py` needs "
             "nothing of this kit, wherever the folder goes. What this untrained model writes, and what follows from "
             "it, is left out.")
    here.run("cp -r data/exports/smoke-my_model-* ../agent")
    here.run("ls ../agent")
    here.run("python ../agent/call.py", hide=r"(?s)(?<=\[assistant\] ).*")

    here.say("## Agent-H on replies of your own", "The samples, and the prompts for a model behind some service:")
    here.run("python -m flanlib.benchmarks.agent_h build --source lab --n 240 --seed 0 --out agent_h.jsonl")
    here.run("python -m flanlib.benchmarks.agent_h ask --samples agent_h.jsonl --prompts prompts.jsonl")
    here.say("A service that calls the first tool it is offered, and knows nothing else:")
    rows(folder / "replies.jsonl", replies(folder / "prompts.jsonl"))
    here.run("tail -n 1 replies.jsonl")
    here.run("python -m flanlib.benchmarks.agent_h score --samples agent_h.jsonl --replies replies.jsonl")
    here.say("A model in a folder is asked directly. Interrupted, it goes on, too:")
    command = ("python -m flanlib.benchmarks.agent_h ask --samples agent_h.jsonl --model my_model --out own.jsonl "
               "--longest 64")  # fmt: skip
    written = folder / "own.jsonl"
    here.run(command, ends=1, interrupt=lambda: written.exists() and written.stat().st_size > 0)
    here.run(command, hide=r"(?<=after )\d+|(?<=own.jsonl: )\d+(?= of)|(?<=now, ).*")

    here.say("## T-Eval on replies of your own", "A file of T-Eval's shape with two questions, one answered rightly:")
    asked = {f"q{i}": {"meta_data": {"response_format": "str"}, "ground_truth": {"answer": "C"}, "origin_prompt": [],
                       "template": ""} for i in range(2)}  # fmt: skip
    (folder / "review_str_v1.json").write_text(json.dumps(asked))
    rows(folder / "answers.jsonl", ({"id": name, "reply": f"Answer: {x}"} for name, x in zip(asked, "CB", strict=True)))
    here.run("python -m flanlib.benchmarks.t_eval score review_str_v1.json answers.jsonl")


def made() -> str:
    """Run everything and return the page."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a script in the background would ignore it
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "flanlib"
        here = Terminal(folder, copy(folder))
        here.say("# A new user's hour", "Written by `python tests/walkthrough.py`, which runs these commands and keeps "
                 "what a terminal shows. … stands for what differs between machines and runs, and for lines that tell "
                 "nothing new; progress bars and empty lines are left out.")
        walk(here)
        here.say("## Not run", "Other commands of the README and of the pages beside this one, and why they are not "
                 "run here:")
        here.page += ["| command | |", "|---|---|"]
        here.page += [f"| `{command}` | {NOT_RUN[command]} |" for command in documented() if command in NOT_RUN]
        here.page.append("")
        here.say("What the other words of `make` would run:")
        here.run("make -n test lab bench", keep=r"^\S*bin/")
        page = "\n".join(here.page).replace(str(folder.parent), "~").rstrip() + "\n"
    if missing := [command for command in documented() if not occurs(command, page)]:
        raise SystemExit(f"neither run nor in NOT_RUN: {missing}")
    return page


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")

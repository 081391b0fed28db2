"""The page of a new user's hour has every command of the documents, and says how it is made; CI makes it again."""

import re
import sys

import pytest
import walkthrough

PAGE = walkthrough.PAGE.read_text(encoding="utf-8")
AGAIN = "run: python tests/walkthrough.py"


@pytest.mark.parametrize("command", walkthrough.documented())
def test_a_documented_command_is_run_in_the_page_or_it_says_why_not(command):
    assert walkthrough.occurs(command, PAGE), AGAIN


def test_the_page_says_how_to_make_it_and_names_nothing_of_the_machine_that_did():
    assert "`python tests/walkthrough.py`" in PAGE
    assert not re.search(r"/(?:tmp|home|root|Users|var|opt)/|\b\d+:\d\d:\d\d\b|-[0-9a-f]{12}\b|\r|\x1b", PAGE)


def test_every_command_is_found_however_it_is_written():
    text = ("Say `make test`, or `python -m x DATA`.\n```\nmake figures \\\n   A=\"#1\"   # all\n.venv/bin/x\n```\n"
            "`maker x` `make`")  # fmt: skip
    assert walkthrough.commands(text) == ['make figures A="#1"', "make test", "python -m x DATA"]


@pytest.mark.parametrize(("page", "there"), [
    ("$ python -m x score rows.json --out y", True), ("| `python -m x score DATA` | why |", True),
    ("$ python -m x score", False), ("run python -m x score rows.json", False), ("$ python -m x scores a", False)])
def test_words_in_capitals_stand_for_any_and_more_may_follow(page, there):
    assert walkthrough.occurs("python -m x score DATA", f"text\n{page}\n") is there


def terminal(folder):
    return walkthrough.Terminal(folder, {"PATH": "/usr/bin:/bin"})


def test_a_command_is_written_down_without_what_varies(tmp_path):
    here = terminal(tmp_path)
    here.run(r"printf '\033[1mrun-0123456789ab\033[0m: 3.25 s\n\n 5%% 1/20 [00:01<00:09]\rnoise\nend\n'; exit 3",
             ends=3, keep="run|end")  # fmt: skip
    assert here.page[2:-2] == ["run-…: … s", "…", "end"]


def test_a_command_that_ends_otherwise_stops_the_page(tmp_path):
    with pytest.raises(SystemExit, match=r"gone\n[^$]*\$ echo gone; exit 3\nended with 3, expected 0"):
        terminal(tmp_path).run("echo gone; exit 3")
    with pytest.raises(SystemExit, match="after an interruption"):
        terminal(tmp_path).run("true", interrupt=lambda: False)


def test_ctrl_c_reaches_the_command(tmp_path):
    here = terminal(tmp_path)
    # The file says that the command is ready for Ctrl-C, so it is made within the block.
    code = "try: open('up', 'w'), time.sleep(60)\nexcept KeyboardInterrupt: sys.exit('stopped')"
    here.run(f"{sys.executable} -c \"import sys, time\n{code}\"", ends=1, interrupt=(tmp_path / "up").exists)
    assert here.page[-3] == "stopped"

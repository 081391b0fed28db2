import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib import sources
from flanlib.corpus import __main__ as command
from flanlib.corpus.card import contents
from flanlib.corpus.export import SHAPES, row, trl_rows
from flanlib.presets import DATA
from flanlib.records import Conversation, FlanError, Turn, say, spans
from flanlib.tally import Tally

EXAMPLE = DATA / "example" / "trajectories.jsonl"
CHATS = [{"id": f"c{i}", "messages": [{"role": "user", "content": f"Say {i}, please."},
                                      {"role": "assistant", "content": f"It is {i}."}]} for i in range(5)]  # fmt: skip


def write_rows(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def read_rows(path):
    return list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty trajectories and five plain chats, in two files."""
    folder = tmp_path_factory.mktemp("data")
    agent = folder / "agent.jsonl"
    agent.write_text("".join(EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:20]), encoding="utf-8")
    return agent, write_rows(folder / "talk.jsonl", CHATS)


def run(*arguments):
    command.main(list(map(str, arguments)))


@pytest.fixture(scope="module")
def written(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "corpus"
    run(*data, "--out", folder)
    return folder


def counts(folder):
    """Rows of each form and source, as the card tells them."""
    cells = re.findall(r"^\| (\w+) \| (\w+)" + r" \| (\d+)" * 4, (folder / "README.md").read_text(), re.M)
    return {(form, source): int(rows) for form, source, _, _, _, rows in cells}


def messages(turns):
    return [(turn.role, turn.text, turn.trained) for turn in turns]


def test_the_folder_holds_the_three_shapes_a_card_and_requests(written):
    assert {path.name for path in written.iterdir()} == command.WRITTEN
    assert [set(read_rows(written / f"{shape}.jsonl")[0]) for shape in SHAPES] == [
        {"id", "conversation"}, {"id", "messages"}, {"id", "prompt", "completion"}]  # fmt: skip


def test_the_recipe_is_the_paper_s_and_own_chat_comes_first(written):
    negative = {("negative", source): n for (form, source), n in counts(written).items() if form == "negative"}
    assert sum(negative.values()) == 2
    assert counts(written) == negative | {
        ("chat", "agent"): 18, ("react", "agent"): 2, ("following", "agent"): 2, ("general", "ordinary"): 15,
        ("general", "talk"): 5}  # fmt: skip


def test_all_shapes_hold_the_same_trained_text(written):
    flagged = [Counter(m["content"] for one in read_rows(written / f"{name}.jsonl") for m in one[key] if m.get("loss"))
               for name, key in (("agent_flan", "conversation"), ("messages", "messages"), ("trl", "completion"))]
    assert flagged[0] == flagged[1] == flagged[2]
    assert all(len(one["completion"]) == 1 and not any(m.get("loss") for m in one["prompt"])
               for one in read_rows(written / "trl.jsonl"))  # fmt: skip


@pytest.mark.parametrize("shape", ["agent_flan", "messages"])
def test_rows_read_back_as_the_conversations_and_trajectories_that_they_were(data, written, shape):
    trajectories, chats, _ = command.read(list(map(str, data)))
    corpus, _ = command.recipe(trajectories, chats, tally=Tally("test"))
    back = {one.id: one for one in sources.read(written / f"{shape}.jsonl", tally=Tally("back"))}
    before = {one.id: one for one in trajectories}
    for conversation in corpus.conversations:
        form, _ = corpus.places[conversation.id]
        after = back.pop(conversation.id)
        if form == "react":
            expected = before[conversation.id]
            assert (after.query, after.steps, after.answer) == (expected.query, expected.steps, expected.answer)
        elif form != "following":  # such a row may read as the call that it writes
            assert messages(after.turns) == messages(conversation.turns)
    assert not back


def test_rows_for_trl_read_back_with_only_their_completion_trained(written):
    rows = {one["id"]: one for one in read_rows(written / "trl.jsonl")}
    for after in sources.read(written / "trl.jsonl", tally=Tally("back")):
        if isinstance(after, Conversation):
            assert [turn.text for turn in after.turns if turn.trained] == [rows[after.id]["completion"][0]["content"]]


flags = st.lists(st.tuples(st.sampled_from(["whole", "part", "not"]), st.text("abc", min_size=1)), min_size=1)


@given(flags)
def test_each_trained_message_is_the_completion_of_one_row_after_all_before_it(exchanges):
    turns = []
    for how, text in exchanges:
        parts = (("Before.", "context"), (f"\n\n{text}", "general")) if how == "part" else ((text, "general"),)
        turns += [say("user", "?"), Turn("assistant", spans(*parts), how != "not")]
    conversation = Conversation("c", "test", tuple(turns))
    whole, rows = row(conversation)["messages"], trl_rows(conversation)
    assert [one["completion"] for one in rows] == [[message] for message in whole if message.get("loss")]
    assert len({one["id"] for one in rows}) == len(rows)
    for one in rows:
        joined = [message["content"] for message in one["prompt"] + one["completion"]]
        assert joined == [message["content"] for message in whole[: len(joined)]]


def test_the_same_inputs_give_the_same_bytes_and_another_seed_others(data, written, tmp_path):
    for folder, seed in (("corpus", command.SEED), ("other", 1)):
        run(*data, "--out", tmp_path / folder, "--seed", seed)
    same = [(tmp_path / "corpus" / name).read_bytes() == (written / name).read_bytes() for name in command.WRITTEN]
    assert all(same)
    assert (tmp_path / "other" / "messages.jsonl").read_bytes() != (written / "messages.jsonl").read_bytes()


def test_replies_of_a_model_become_negatives(data, written, tmp_path):
    asked = read_rows(written / "requests.jsonl")
    assert len(asked) == 4  # two of each type
    replies = write_rows(tmp_path / "replies.jsonl", [{"id": one["id"], "reply": " I can't."} for one in asked])
    run(*data, "--out", tmp_path / "corpus", "--replies", replies)
    assert counts(tmp_path / "corpus")["negative", "agent"] == 4
    assert not (tmp_path / "corpus" / "requests.jsonl").exists()


@pytest.mark.parametrize(("switches", "forms"), [
    (["--no-negatives"], {"chat", "react", "following", "general"}),
    (["--no-general", "--no-following", "--no-negatives", "--react-share", "0"], {"chat"}),
    (["--no-general", "--no-following", "--no-negatives", "--dialect", "react"], {"react"}),
])  # fmt: skip
def test_parts_of_the_recipe_can_be_left_out(data, tmp_path, switches, forms):
    run(*data, "--out", tmp_path / "corpus", *switches)
    assert {form for (form, _), n in counts(tmp_path / "corpus").items() if n} == forms


def test_without_weights_every_turn_is_trained(data, tmp_path):
    run(data[0], "--out", tmp_path / "corpus", "--no-weights")
    said = [m for one in read_rows(tmp_path / "corpus" / "messages.jsonl") for m in one["messages"]
            if m["role"] == "assistant"]  # fmt: skip
    assert all(message["loss"] for message in said)


def test_ids_stay_unique_among_data_sets(data, tmp_path):
    trajectories, chats, tallies = command.read([str(data[0]), str(data[1]), str(data[1])])
    assert len({one.id for one in (*trajectories, *chats)}) == 20 + 5 + 5
    assert [tally.noted["ids made unique among data sets"] for tally in tallies] == [0, 0, 5]


def test_the_card_counts_the_words_that_are_trained(data):
    trajectories, chats, _ = command.read(list(map(str, data)))
    corpus, _ = command.recipe(trajectories, chats, tally=Tally("test"))
    texts = [m["content"] for one in corpus.conversations for m in row(one)["messages"] if m.get("loss")]
    table = contents(corpus)
    assert table["rows"].sum() == len(corpus.conversations)
    assert table.loc[table["form"] != "react", "words"].sum() <= sum(len(text.split()) for text in texts)
    plain = table[table["form"] == "general"]
    assert plain["words"].sum() == plain["general"].sum() == sum(
        len(one.turns[-1].text.split()) for one in corpus.conversations if corpus.places[one.id][0] == "general")


def test_nothing_stays_of_a_corpus_that_could_not_be_written(data, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "card", broken)
    with pytest.raises(SystemExit, match="No space left"):
        run(data[0], "--out", tmp_path / "corpus")
    assert not list(tmp_path.iterdir())


def test_an_older_corpus_is_replaced_only_on_request_and_other_folders_never(data, tmp_path):
    run(data[0], "--out", tmp_path / "corpus", "--seed", 1)
    before = (tmp_path / "corpus" / "README.md").read_bytes()
    with pytest.raises(SystemExit, match="pass --force"):
        run(data[0], "--out", tmp_path / "corpus")
    assert (tmp_path / "corpus" / "README.md").read_bytes() == before
    run(data[0], "--out", tmp_path / "corpus", "--force")
    assert (tmp_path / "corpus" / "README.md").read_bytes() != before
    (tmp_path / "corpus" / "thesis.tex").touch()
    with pytest.raises(SystemExit, match=r"thesis\.tex"):
        run(data[0], "--out", tmp_path / "corpus", "--force")
    assert (tmp_path / "corpus" / "thesis.tex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.jsonl"], "no such file"),
    (["{talk}"], "no trajectory and 5 plain conversations"),
    (["{agent}", "--react-share", "2"], "a share between 0 and 1"),
    (["{agent}", "--replies", "{talk}"], "no reply"),
])  # fmt: skip
def test_bad_input_ends_with_one_line_and_no_folder(data, tmp_path, arguments, message):
    named = [one.format(agent=data[0], talk=data[1]) for one in arguments]
    with pytest.raises(SystemExit) as error:
        run(*named, "--out", tmp_path / "corpus")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("amount", ["nan", "-1", "inf", "many"])
def test_amounts_are_numbers_of_0_or_more(data, tmp_path, amount, capsys):
    with pytest.raises(SystemExit):
        run(data[0], "--out", tmp_path / "corpus", f"--general={amount}")
    assert "--general" in capsys.readouterr().err


def test_replies_that_are_none_are_counted(tmp_path):
    rows = [{"id": "a", "reply": "Yes."}, {"id": "a", "reply": "No."}, {"id": "b", "reply": " "}, ["c"]]
    replies, tally = command.read_replies(str(write_rows(tmp_path / "replies.jsonl", rows)))
    assert replies == {"a": "Yes."}
    assert tally.dropped.total() == 3
    with pytest.raises(FlanError, match="no reply"):
        command.read_replies(str(write_rows(tmp_path / "none.jsonl", rows[2:])))

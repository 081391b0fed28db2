"""The preset for one card: its model is open, its template labels every reply, and errors lead to it."""

import pytest
from test_templates import tiny_tokenizer

from flanlib import presets, pretrained
from flanlib.corpus.material import material
from flanlib.dialects import DIALECTS, render_all
from flanlib.presets import PRESETS, preset
from flanlib.records import FlanError
from flanlib.tally import Tally
from flanlib.text.own_template import own_template
from flanlib.text.tokens import encode_all, load_tokenizer

CONSUMER = PRESETS["consumer"]
GATED = ("meta-llama/", "google/gemma", "mistralai/")
# Written for this test in the shape of Qwen2.5's: ChatML, a system text of its own, tools and calls in other branches.
QWEN = """{%- if tools %}{{- '<|im_start|>system\\n' }}{{- messages[0]['content'] }}{%- for tool in tools %}
{{- tool | tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- else %}{%- if messages[0]['role'] == 'system' %}
{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}
{{- '<|im_start|>system\\nAnswer well.<|im_end|>\\n' }}{%- endif %}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first)
       or (message.role == 'assistant' and not message.tool_calls) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- elif message.role == 'tool' %}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def test_the_model_for_one_card_is_open_and_llama_2_is_one_setting_away(monkeypatch):
    monkeypatch.setenv("FLAN_PRESET", "consumer")
    assert preset().model == presets.OPEN_7B
    assert not presets.OPEN_7B.startswith(GATED)
    assert preset().template == "own"
    monkeypatch.setenv("FLAN_MODEL", "meta-llama/Llama-2-7b-chat-hf")
    other = preset()
    assert (other.model, other.template) == ("meta-llama/Llama-2-7b-chat-hf", presets.AUTO)
    assert other.learning_rate == CONSUMER.learning_rate


def test_a_template_of_its_shape_labels_every_row_in_every_form():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = QWEN
    template = own_template(tokenizer)
    data = material(PRESETS["smoke"])
    for form in DIALECTS:
        texts, tally = render_all(data.train, form), Tally("rows")
        rows = encode_all(texts, tokenizer, template, max_tokens=100_000, tally=tally)
        assert len(rows) == len(texts) > 0, form
        assert not tally.dropped
        assert all(row.trained for row in rows)


@pytest.mark.parametrize("answer", ["403 Client Error. Cannot access gated repo", "401 Client Error"])
def test_a_tokenizer_that_the_hub_guards_is_refused_with_the_way_in_and_an_open_model(monkeypatch, answer):
    def guarded(name, **_):
        raise OSError(answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", guarded)
    with pytest.raises(FlanError, match=r"accept its licence at https://huggingface.co/some/model") as told:
        load_tokenizer("some/model")
    assert f"MODEL={presets.OPEN_7B}" in told.value.remedy


def test_other_errors_do_not_speak_of_a_licence():
    assert "licence" not in pretrained.remedy("some/model", OSError("no file 4012 or 14031"))

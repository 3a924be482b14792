"""Blocks of a model file are written out as layers, and what is wrong with them is said."""

from __future__ import annotations

import textwrap

import pytest

from fwcompare.errors import RequestError
from fwcompare.graph.read import read

PARAMS = {"width": 4, "blocks": [2, 1], "outputs": 3}


@pytest.fixture
def build(tmp_path):
    def build(text):
        file = tmp_path / "m.yml"
        file.write_text("layers:\n" + textwrap.indent(textwrap.dedent(text), "  "))
        return read(file, PARAMS, (8, 8, 3))

    return build


def wiring(graph):
    return [(layer.name, *layer.inputs) for layer in graph.layers]


CONV = '{name: conv, kind: conv2d, filters: "${width * 2 ** i}", kernel_size: 3}'
DENSE = "{name: d, kind: dense, units: 3}"


def test_a_repeated_block_goes_on_from_the_one_before(build):
    graph = build(f"- {{repeat: 2, name: 'b${{i}}', layers: [{CONV}]}}")
    assert wiring(graph) == [("b1/conv", "input"), ("b2/conv", "b1/conv")]
    assert [layer.shape[-1] for layer in graph.layers] == [8, 16]


def test_a_block_refers_to_its_input_and_to_its_own_layers(build):
    graph = build(
        """
        - {name: d, kind: dense, units: 3}
        - repeat: 2
          name: b${i}
          layers:
            - {name: d, kind: dense, units: 3}
            - {name: e, kind: dense, units: 3}
            - {name: sum, kind: add, inputs: [d, e, in]}
        """
    )
    assert graph["b1/sum"].inputs == ("b1/d", "b1/e", "d")
    assert graph["b2/sum"].inputs == ("b2/d", "b2/e", "b1/sum")


def test_layers_refer_to_blocks_and_to_what_is_within(build):
    graph = build(
        f"""
        - {{name: a, layers: [{DENSE}, {{name: e, kind: dense, units: 3}}]}}
        - {{name: b, inputs: [input], layers: [{DENSE}, {{name: sum, kind: add, inputs: [d, a]}}]}}
        - {{name: end, kind: add, inputs: [b, a/d]}}
        """
    )
    assert graph["b/d"].inputs == ("input",)
    assert graph["b/sum"].inputs == ("b/d", "a/e")
    assert graph["end"].inputs == ("b/sum", "a/d")


def test_nested_counts_and_lists(build):
    graph = build(
        """
        - repeat: 2
          as: stage
          name: stage${stage}
          layers:
            - repeat: "${blocks[stage - 1]}"
              name: block${i}
              layers:
                - {name: d, kind: dense, units: "${10 * stage + i}"}
        """
    )
    assert [(layer.name, layer.shape[-1]) for layer in graph.layers] == [
        ("stage1/block1/d", 11),
        ("stage1/block2/d", 12),
        ("stage2/block1/d", 21),
    ]


def test_a_block_may_be_left_out_where_that_is_allowed(build):
    graph = build(
        f"""
        - {DENSE}
        - {{repeat: 0, allow_empty: true, name: 'b${{i}}', layers: [{DENSE}]}}
        - {{name: end, kind: dense, units: 3}}
        """
    )
    assert wiring(graph) == [("d", "input"), ("end", "d")]


def test_a_block_is_the_same_as_its_layers_written_out(build):
    short = build(f"- {{repeat: 2, name: 'b${{i}}', layers: [{CONV}]}}")
    again = short.from_layers(short.input_shape, short.to_layers())
    assert again.digest == short.digest
    assert again.owner("b2/conv/kernel").name == "b2/conv"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            f"{{repeat: 0, name: 'b${{i}}', layers: [{DENSE}]}}",
            ["'b${i}'", "0 times", "allow_empty"],
        ),
        (f"{{repeat: -1, allow_empty: true, name: 'b${{i}}', layers: [{DENSE}]}}", ["-1 times"]),
        (f"{{repeat: 2, name: b, layers: [{DENSE}]}}", ["more than once as 'b'", "b${i}"]),
        (f"{{repeat: 2.5, name: 'b${{i}}', layers: [{DENSE}]}}", ["whole number", "2.5"]),
        (f"{{repeat: 2, as: width, name: 'b${{width}}', layers: [{DENSE}]}}", ["hide", "'width'"]),
        (f"{{repeat: 9, as: 5, name: 'b${{i}}', layers: [{DENSE}]}}", ["'as'", "5"]),
        (f"{{repeat: 10001, name: 'b${{i}}', layers: [{DENSE}]}}", ["more than 10000"]),
        (
            f"{{name: a, kind: flatten}}\n- {{repeat: 20000, name: 'b${{i}}', layers: [{DENSE}]}}",
            ["more than 10000"],
        ),
        (
            f"{{repeat: 1000000000, when: false, name: 'b${{i}}', layers: [{DENSE}]}}",
            ["more than 10000"],
        ),
        (f"{{repeat: 2, layers: [{DENSE}]}}", ["needs a name"]),
        (f"{{name: b, layers: [{DENSE}], width: 3}}", ["'b'", "'width'", "repeat"]),
        ("{name: b, layers: []}", ["'b'", "at least one layer"]),
        (f"{{name: b, layers: [{DENSE}, {DENSE}]}}", ["'b/d'", "twice"]),
        (f"{{name: input, layers: [{DENSE}]}}", ["'input'", "another name"]),
        ("{name: b, layers: [{name: in, kind: dense, units: 3}]}", ["'b/in'", "another name"]),
        (
            f"{{name: b, layers: [{{name: a, kind: dense, units: 3, inputs: [d]}}, {DENSE}]}}",
            ["'b/a'", "'d'", "no earlier layer", "'b/d' is a later one"],
        ),
        (f"{{name: b, inputs: [input, input], layers: [{DENSE}]}}", ["'b'", "takes 1 input"]),
        ("{name: a/b, kind: dense, units: 3}", ["'a/b'", "word"]),
        ("{name: d, kind: dense, units: 3, inputs: [in]}", ["'in'", "no earlier layer"]),
        ("{name: d, kind: dense, units: '${blocks[2]}'}", ["place 2 of a list of 2"]),
        ("{name: d, kind: dense, units: '${width[0]}'}", ["no list"]),
        ("{name: d, kind: dense, units: '${9 ** 9 ** 9}'}", ["power"]),
    ],
)
def test_what_is_wrong_with_a_block_is_said(build, block, words):
    with pytest.raises(RequestError) as error:
        build(f"- {block}")
    for word in words:
        assert word in str(error.value)


def test_a_file_that_holds_itself_is_refused(tmp_path):
    file = tmp_path / "m.yml"
    file.write_text("layers: &all [{name: b, layers: *all}]")
    with pytest.raises(RequestError, match="contains itself"):
        read(file, {}, (8, 8, 3))

"""Which types the tensors of a converted file have, and how it is written."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from engine.tuning.conversion import ConversionError, convert
from engine.tuning.interruption import Interrupted, Interruption
from engine.tuning.recipe import AS_IT_IS, Recipe, alone, groups, mix, uniform_recipes
from engine.tuning.tensors import OUTPUT_ROLE, Tensor, parts_of, read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from engine.loading.child import Child

WIDE = [
    Tensor("token_embd.weight", "f16", (512, 100), None),
    Tensor("output.weight", "q6_K", (512, 100), OUTPUT_ROLE),
    Tensor("blk.0.attn_q.weight", "f16", (512, 512), "attn_q/k"),
    Tensor("blk.0.attn_v.weight", "f16", (512, 128), "attn_v"),
    Tensor("blk.0.ffn_down.weight", "f16", (1408, 512), "ffn_down"),
    Tensor("blk.0.attn_norm.weight", "f32", (512,), None),
]


class TestTensors:
    def test_they_are_those_of_the_file(self, original: Path) -> None:
        tensors = {tensor.name: tensor for tensor in read_tensors(original)}
        assert len(tensors) == 3 + 2 * 9
        query = tensors["blk.1.attn_q.weight"]
        assert (query.type, query.shape, query.role) == ("f32", (32, 32), "attn_q/k")
        assert tensors["blk.0.attn_norm.weight"].role is None
        assert tensors["token_embd.weight"].role is None, "it is only looked up"
        assert tensors["output.weight"].role == OUTPUT_ROLE

    def test_sizes_are_those_of_whole_blocks(self) -> None:
        assert Tensor("a", "f32", (64, 3), None).bytes_as("q8_0") == 3 * 2 * 34
        assert Tensor("a", "f32", (64,), None).bytes_as("f16") == 128

    def test_the_parts_of_a_split_model(self, tmp_path: Path) -> None:
        assert [path.name for path in parts_of(tmp_path / "m-00001-of-00003.gguf")] == [
            f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)
        ]
        assert parts_of(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


class TestRecipe:
    def test_a_row_that_is_no_whole_number_of_blocks_gets_a_substitute(self) -> None:
        recipe = Recipe("Q4_K", {"ffn_down": "q4_K", "attn_v": "q4_K"})
        assert [recipe.type_of(tensor) for tensor in WIDE] == ["f16", "q6_K", "f16", "q4_K", "q8_0", "f32"]

    def test_a_type_that_few_rows_fit_is_left_out(self) -> None:
        names = [recipe.name for recipe in uniform_recipes(WIDE)]
        assert names == ["Q8_0", "Q4_0", "IQ4_NL"], "most of the weights are in rows of 1408"

    def test_a_file_that_is_of_a_type_is_not_converted_to_it(self, original: Path, other: Path) -> None:
        assert "Q8_0" in [recipe.name for recipe in uniform_recipes(read_tensors(original))]
        assert "Q8_0" not in [recipe.name for recipe in uniform_recipes(read_tensors(other))]

    def test_a_large_output_is_tried_alone(self) -> None:
        large = [*WIDE, Tensor("output.weight", "q6_K", (512, 4000), OUTPUT_ROLE)]
        assert f"Q8_0 {OUTPUT_ROLE}" in [recipe.name for recipe in uniform_recipes(large)]

    def test_shares_are_of_what_can_be_converted(self) -> None:
        shares = groups(WIDE)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["attn_v"] == pytest.approx(shares["attn_q/k"] / 4)

    def test_a_mix_changes_its_roles_and_says_so(self) -> None:
        base = uniform_recipes(WIDE)[0]
        mixed = mix(base, "q4_0", ["attn_v"])
        assert mixed.name == "Q8_0 + Q4_0 attn_v"
        assert [mixed.type_of(tensor) for tensor in WIDE][2:5] == ["q8_0", "q4_0", "q8_0"]
        assert mixed.main_type(WIDE) == "q8_0"
        assert not AS_IT_IS.changes(WIDE)


class TestConversion:
    def convert(self, source: Path, target: Path, recipe: Recipe, interruption: Interruption) -> None:
        tensors = read_tensors(source)
        convert(
            source,
            target,
            {tensor.name: recipe.type_of(tensor) for tensor in tensors},
            main_type=recipe.main_type(tensors),
            timeout_s=60,
            started=interruption.watch,
        )

    def test_each_tensor_has_its_type_and_the_original_is_as_it_was(
        self, original: Path, tmp_path: Path
    ) -> None:
        before = hashlib.sha256(original.read_bytes()).digest(), original.stat().st_mtime_ns
        tensors = read_tensors(original)
        recipe = mix(alone("q8_0", OUTPUT_ROLE), "q4_0", ["ffn_down"])
        self.convert(original, tmp_path / "new.gguf", recipe, Interruption())
        found = {tensor.name: tensor.type for tensor in read_tensors(tmp_path / "new.gguf")}
        assert found == {tensor.name: recipe.type_of(tensor) for tensor in tensors}
        assert {"f32", "q4_0", "q8_0"} == set(found.values())
        size = (tmp_path / "new.gguf").stat().st_size
        assert size - recipe.n_bytes(tensors) == pytest.approx(
            original.stat().st_size - AS_IT_IS.n_bytes(tensors), abs=32 * len(tensors)
        )
        assert (hashlib.sha256(original.read_bytes()).digest(), original.stat().st_mtime_ns) == before
        assert [path.name for path in tmp_path.iterdir()] == ["new.gguf"]

    def test_nothing_is_written_over(self, original: Path, tmp_path: Path) -> None:
        (old := tmp_path / "old.gguf").write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            self.convert(original, old, alone("q8_0", OUTPUT_ROLE), Interruption())
        assert old.read_bytes() == b"precious"

    def test_of_what_llama_cpp_cannot_convert_nothing_is_left(self, original: Path, tmp_path: Path) -> None:
        (broken := tmp_path / "broken.gguf").write_bytes(original.read_bytes()[:-5000])
        with pytest.raises(ConversionError, match="corrupted or incomplete"):
            self.convert(broken, tmp_path / "new.gguf", alone("q8_0", OUTPUT_ROLE), Interruption())
        assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]

    def test_it_can_be_ended_from_another_thread(self, original: Path, tmp_path: Path) -> None:
        interruption = Interruption()

        def end(child: Child) -> None:
            interruption.watch(child)
            threading.Thread(target=interruption.ask).start()

        recipe = alone("q8_0", OUTPUT_ROLE)
        types = {tensor.name: recipe.type_of(tensor) for tensor in read_tensors(original)}
        with pytest.raises(ConversionError, match="SIGKILL"):
            convert(original, tmp_path / "new.gguf", types, main_type="q8_0", timeout_s=60, started=end)
        with pytest.raises(Interrupted):
            interruption.check()
        assert not any(tmp_path.iterdir())

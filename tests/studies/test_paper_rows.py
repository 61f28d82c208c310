import pytest

from semcycle.errors import SemcycleError
from semcycle.studies.paper_rows import BRATS, ISLES, ROWS, choose_rows
from semcycle.training.recipe import load_recipe


@pytest.mark.parametrize("size", ["paper", "paper-small"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_recipe(row, size):
    recipe = load_recipe(f"{size}/{row.recipe}")
    assert recipe.build().stages()
    if size == "paper" and row.published:
        assert recipe.training.batch_size == 128


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_papers_recipes_train_on_all_training_cases(row):
    training = load_recipe(f"paper/{row.recipe}").training
    assert (training.validation_share, training.patience, training.weights) == (0, 0, "last")


def test_every_published_number_stands_once():
    numbers = {row.name: row.published for row in ROWS if row.published}
    assert sum(len(sets) for sets in numbers.values()) == 11  # six rows, ISLES without the discrete one
    assert numbers["cycle continuous"] == {BRATS: (0.511, 0.544), ISLES: (0.110, 0.178)}
    assert [row.name for row in ROWS if row.baseline] == ["AE", "VAE", "GMVAE", "f-AnoGAN"]


def test_rows_are_chosen_by_name():
    assert [row.name for row in choose_rows(["cycle discrete", "AE"])] == ["cycle discrete", "AE"]
    assert choose_rows([]) == list(ROWS)
    with pytest.raises(SemcycleError, match="expected rows of AE, .* got 'EA'"):
        choose_rows(["EA"])

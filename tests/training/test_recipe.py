import pytest

from semcycle.errors import RecipeError
from semcycle.training.recipe import load_recipe, parse_recipe
from semcycle.training.shipped import shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_round_trips(name):
    recipe = load_recipe(name)
    assert parse_recipe(recipe.to_dict(), name) == recipe


def test_paper_recipes_say_what_the_paper_says():
    recipe = load_recipe("paper/cycle-continuous")
    assert recipe.training.batch_size == 128
    assert recipe.training.decay == "none"
    assert recipe.slices.lesions == "drop"
    assert (recipe.method.segmentation.epochs, recipe.method.synthesis.epochs) == (30, 15)
    discrete = load_recipe("paper/cycle-discrete")
    assert discrete.method.semantics == "discrete"
    assert discrete.method.segmentation == recipe.method.segmentation
    assert discrete.method.synthesis == recipe.method.synthesis


def test_the_recipes_of_run_py_have_its_defaults():
    """A28: what the notebook's recipes set otherwise, batch, epochs, dropout and the early end."""
    names = [name for name in shipped_recipes() if name.startswith("baur-run/")]
    assert [name.partition("/")[2] for name in names] == [
        "autoencoder",
        "autoencoder-spatial",
        "fanogan",
        "gmvae",
        "vae",
    ]
    for name in names:
        recipe, notebook = load_recipe(name), load_recipe(name.replace("baur-run", "paper"))
        assert (recipe.training.batch_size, recipe.training.patience) == (8, 5)
        assert recipe.method.dropout == 0.2
        epochs = recipe.method.gan.epochs if recipe.method_name == "fanogan" else recipe.method.epochs
        assert epochs == 1000
        common = {"dropout", "epochs", "restore_steps", "tv_lambda", "gan", "encoder"}
        assert recipe.method.model_dump(exclude=common) == notebook.method.model_dump(exclude=common)
    assert load_recipe("baur-run/gmvae").method.restore_steps == 150


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("method: {name: cycle, segmentation: {epoch: 3}}", "'method.segmentation.epoch'; did you mean 'epochs'"),
        ("method: {name: cycle}\ntrainng: {}", "unknown key 'trainng'; did you mean 'training'"),
        ("method: {name: cycle}\ntraining: {batchsize: 3}", "did you mean 'batch_size'"),
        ("method: {name: cycle, segmentation: {augment: {flop: true}}}", "did you mean 'flip'"),
        ("method: {name: cycel}", "did you mean 'cycle'"),
        ("method: {name: cycle, semantics: discreet}", "'continuous' or 'discrete'"),
        ("method: {name: cycle, synthesis: {epochs: many}}", "method.synthesis.epochs"),
        ("method: {name: cycle}\nmethod_name: vae", "method.name"),
        ("method: cycle", "`method:` section"),
        ("[1, 2]", "`method:` section"),
        ("a: [", "expected YAML"),
        ("!!python/object/apply:os.system ['true']", "expected YAML"),
    ],
)
def test_wrong_recipes_are_refused_with_the_nearest_right_key(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_are_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match="did you mean 'paper/cycle-discrete'"):
        load_recipe("paper/cycle-discret")


@pytest.mark.parametrize(
    "method",
    [
        {"name": "cycle", "segmentation": {"base": 4096}},
        {"name": "denoising", "base": 4096, "poolings": 8},
        {"name": "vae", "size": 20, "resolution": 8},
    ],
)
def test_networks_that_cannot_be_made_are_refused_before_they_take_memory(method):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecipeError, match="expected settings of which .* can be made|multiple|power"):
        parse_recipe({"method": method}, "x", "x").build()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3e6  # kB

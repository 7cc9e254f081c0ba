"""What every paper must do. The folders under projects/ are found, not listed."""

import importlib
import importlib.util
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model

from segplugins import projects
from segplugins.config import add_shared_config
from segplugins.drawn_world import write_drawn_world
from segplugins.engine import Trainer, setup_cfg
from segplugins.engine.read_config import known_keys
from segplugins.structures import Vocabulary, get_vocabulary, register_vocabulary

ROOT = Path(__file__).resolve().parents[1]
PAPERS = sorted(path.parent.name for path in ROOT.glob("projects/*/__init__.py"))
# Invented ones that no file of the checkout names: what holds for them holds for the next paper.
# One answers with maps, one with instances alone, one only trains weights for others.
SIXTH = ROOT / "tests" / "support" / "sixth_paper"
INVENTED = sorted(path.parent.name for path in SIXTH.glob("projects/*/__init__.py"))
FIELDS = {"sem_seg", "instances", "pairs"}  # of a training record
RESULTS = {  # as the evaluators read them
    "sem_seg",
    "instances",
    "panoptic_seg",
    "phrase_masks",
    "no_target",
    "class_scores",
    "image_embedding",
    "text_embeddings",
}

_spec = importlib.util.spec_from_file_location(
    "config_keys", ROOT / "tests" / "support" / "config_keys.py"
)
config_keys = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(config_keys)

for_every_paper = pytest.mark.parametrize("paper", [*PAPERS, *INVENTED])


def tiny_configs(root, papers):
    """Returns "paper/config" of every configs/<paper>/tiny*.yaml; a paper may have two models."""
    found = {paper: sorted((root / "configs" / paper).glob("tiny*.yaml")) for paper in papers}
    assert all(any(f.stem == "tiny" for f in files) for files in found.values()), found
    return [f"{paper}/{file.stem}" for paper, files in found.items() for file in files]


CASES = [*tiny_configs(ROOT, PAPERS), *tiny_configs(SIXTH, INVENTED)]
for_every_model = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    """A folder outside the checkout that holds the invented papers and the shared configs."""
    scratch = tmp_path_factory.mktemp("scratch")
    shutil.copytree(SIXTH, scratch, dirs_exist_ok=True)
    shutil.copytree(ROOT / "configs" / "base", scratch / "configs" / "base")
    projects.__path__.append(str(scratch / "projects"))
    yield scratch
    projects.__path__.remove(str(scratch / "projects"))


@pytest.fixture
def home(scratch):
    """Says in which folder projects/<paper> and configs/<paper> stand."""
    return lambda paper: ROOT if paper in PAPERS else scratch


@pytest.fixture(scope="module")
def drawn_world(tmp_path_factory):
    """A drawn world of a few small pictures in $DETECTRON2_DATASETS."""
    root = tmp_path_factory.mktemp("datasets")
    write_drawn_world(root / "drawn", train=8, val=2, clips=1, val_clips=1, size=64, seed=0)
    before = os.environ.get("DETECTRON2_DATASETS")
    os.environ["DETECTRON2_DATASETS"] = str(root)
    yield root
    if before is None:
        del os.environ["DETECTRON2_DATASETS"]
    else:
        os.environ["DETECTRON2_DATASETS"] = before


@pytest.fixture
def tiny(drawn_world, home, tmp_path):
    """Builds the config configs/<paper>/<name>.yaml of a case "paper/name"."""

    def build(case, *opts):
        paper, name = case.split("/")
        package = importlib.import_module(f"segplugins.projects.{paper}")
        file = home(paper) / "configs" / paper / f"{name}.yaml"
        opts = ["OUTPUT_DIR", str(tmp_path), "SEED", "0", "MODEL.DEVICE", "cpu", *opts]
        return setup_cfg(Namespace(config_file=str(file), opts=opts), [package.add_config])

    return build


def training_batch(cfg, size):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE, cfg.DATALOADER.NUM_WORKERS = size, 1, 0
    return next(iter(Trainer.build_train_loader(cfg)))


def test_record(cfg, **changes):
    return {**next(iter(Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))[0], **changes}


test_record.__test__ = False


def add_up(losses):
    assert losses and all(loss.dim() == 0 for loss in losses.values()), losses
    assert all(loss.isfinite() for loss in losses.values()), losses
    return sum(losses.values())


def without_labels(record):
    """The same picture as one in which nobody labelled anything."""
    record = dict(record)
    if "sem_seg" in record:
        record["sem_seg"] = torch.full_like(record["sem_seg"], 255)
    if "instances" in record:
        record["instances"] = record["instances"][:0]
    return {**record, **{key: [] for key in ("captions", "tags", "regions") if key in record}}


def built_to_answer(cfg):
    """Builds the model for evaluation; a paper that answers nothing has nothing to show here."""
    model = build_model(cfg).eval()
    if not model.answers:
        pytest.skip("it trains weights for others and answers nothing")
    return model


def tensors(result):
    """Returns the tensors of one result by name."""
    found = {}
    for key, value in result.items():
        if key == "instances":
            fields = value.get_fields()
            found |= {f: getattr(v, "tensor", v) for f, v in fields.items()}
        else:
            found[key] = value[0] if isinstance(value, tuple) else value
    return found


def by_name(result, names):
    """Returns what a result says of each class, whatever the order of the vocabulary."""
    if "sem_seg" in result:
        return dict(zip(names, result["sem_seg"]))
    if "instances" in result:
        found = result["instances"]
        return {names[k]: score for k, score in zip(found.pred_classes, found.scores)}
    return {}


def cropped(record, side):
    """The upper left part of a training record."""
    record = {**record, "image": record["image"][:, :side, :side]}
    if "sem_seg" in record:
        record["sem_seg"] = record["sem_seg"][:side, :side]
    if "instances" in record:
        cut = type(record["instances"])((side, side))
        for name, value in record["instances"].get_fields().items():
            if name == "gt_boxes":
                value = value.clone()
                value.clip((side, side))
            elif name == "gt_masks":
                value = type(value)(value.tensor[:, :side, :side])
            cut.set(name, value)
        record["instances"] = cut
    return record


@for_every_model
def test_it_declares_what_it_learns_from_and_answers(case, tiny):
    cfg = tiny(case)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    assert isinstance(model.learns_from, frozenset) and isinstance(model.answers, frozenset)
    assert model.learns_from and model.learns_from <= FIELDS
    assert model.answers <= RESULTS
    assert bool(model.answers) == bool(cfg.DATASETS.TEST)


@for_every_model
def test_its_records_hold_what_it_learns_from(case, tiny):
    cfg = tiny(case)
    learns_from = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).learns_from
    for record in training_batch(cfg, 2):
        if "pairs" in learns_from:
            assert record.keys() & {"captions", "tags", "regions"}
        assert learns_from - {"pairs"} <= record.keys()


@for_every_model
def test_it_answers_what_it_declares(case, tiny):
    cfg = tiny(case)
    model = built_to_answer(cfg)
    with torch.no_grad():
        keys = set(model([test_record(cfg)])[0])
    assert keys and keys <= model.answers


@for_every_model
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_it_refuses_to_answer_with_weights_that_are_not_finite(case, tiny, value):
    cfg = tiny(case)
    model = built_to_answer(cfg)
    record = test_record(cfg)
    with torch.no_grad():
        model([record])
        name, weight = list(model.named_parameters())[-1]
        weight.view(-1)[0] = value
        with pytest.raises(ValueError, match=rf"1 tensors hold .* not finite: {name} \(1 of"):
            model([record])


@for_every_model
def test_it_trains_two_steps(case, tiny):
    cfg = tiny(case, "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()", "SOLVER.IMS_PER_BATCH", "2")
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    before = {name: p.clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()  # a loss that is not finite would stop it
    after = dict(trainer.model.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)


@for_every_model
def test_the_loss_falls_on_one_repeated_batch(case, tiny):
    cfg = tiny(case)
    model = build_model(cfg).train()
    batch = training_batch(cfg, 2)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(8):
        torch.manual_seed(0)  # where a loss draws points, the same ones
        loss = add_up(model(batch))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.95 * losses[0], losses


@for_every_model
def test_a_picture_without_any_label_has_a_finite_loss_and_gradient(case, tiny):
    cfg = tiny(case)
    model = build_model(cfg).train()
    add_up(model([without_labels(record) for record in training_batch(cfg, 2)])).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    # Data parallel training waits for every one; what no loss reaches must be frozen.
    assert gradients and all(g is not None and g.isfinite().all() for g in gradients)


@for_every_model
def test_a_batch_may_hold_two_sizes(case, tiny):
    cfg = tiny(case)
    first, second = training_batch(cfg, 2)
    model = build_model(cfg)
    add_up(model.train()([first, cropped(second, 48)]))
    if not model.answers:
        return
    record = test_record(cfg)
    smaller = {**record, "image": record["image"][:, :48, :32], "height": 48, "width": 32}
    with torch.no_grad():
        results = model.eval()([record, smaller])
    expected = [(record["height"], record["width"]), (48, 32)]
    for result, size in zip(results, expected):
        if "instances" in result:
            assert result["instances"].image_size == size
        maps = [result[key] for key in ("sem_seg", "phrase_masks") if key in result]
        assert all(tuple(found.shape[-2:]) == size for found in maps)


@for_every_model
def test_it_answers_with_a_vocabulary_it_has_never_seen(case, tiny):
    cfg = tiny(case)
    model = built_to_answer(cfg)
    own = test_record(cfg)["vocabulary"]
    names = ("zebra crossing", "grass", "a thing without a name", "sky", "bus")
    register_vocabulary(Vocabulary("contract_new", names))
    register_vocabulary(get_vocabulary("contract_new").select([3, 0, 4, 2, 1], "contract_permuted"))
    with torch.no_grad():
        answers = [
            model([test_record(cfg, vocabulary=name)])[0]
            for name in ("contract_new", own, "contract_new", "contract_permuted")
        ]
        torch.manual_seed(1)
        fresh = build_model(cfg).eval()
        fresh.load_state_dict(model.state_dict())
        alone = fresh([test_record(cfg, vocabulary="contract_new")])[0]
    new, first, again, permuted = answers
    if "sem_seg" in new:
        assert len(new["sem_seg"]) == 5 and len(first["sem_seg"]) == len(get_vocabulary(own))
    for name, tensor in tensors(new).items():
        assert torch.equal(tensor, tensors(again)[name])
        assert torch.equal(tensor, tensors(alone)[name])
    # Not to the bit: a softmax adds its classes in another order.
    torch.testing.assert_close(
        by_name(permuted, get_vocabulary("contract_permuted").classes),
        by_name(new, names),
        rtol=1e-5,
        atol=1e-7,
    )


@for_every_model
def test_evaluation_gives_detectron2s_keys_and_numbers(case, tiny):
    cfg = tiny(case)
    results = Trainer.test_each(cfg, built_to_answer(cfg))
    assert list(results) == list(cfg.DATASETS.TEST)
    for tasks in results.values():
        assert tasks
        for metrics in tasks.values():
            assert metrics and all(isinstance(value, float) for value in metrics.values())


@for_every_model
def test_weights_survive_a_round_trip(case, tiny):
    cfg = tiny(case)
    first = built_to_answer(cfg)
    torch.manual_seed(1)
    second = build_model(cfg).eval()
    second.load_state_dict(first.state_dict(), strict=True)
    record = test_record(cfg)
    with torch.no_grad():
        expected, result = tensors(first([record])[0]), tensors(second([record])[0])
    assert expected and all(torch.equal(expected[name], result[name]) for name in expected)


@for_every_paper
def test_it_adds_no_config_node_but_its_own(paper):
    package = importlib.import_module(f"segplugins.projects.{paper}")
    before, after = shared_config(), shared_config()
    package.add_config(after)
    added = {key.rpartition(".")[0].split(".")[1] for key in new_keys(before, after)}
    assert len(added) == 1, f"one node below MODEL, got {added}"
    assert {key: value(after, key) for key in known_keys(before)} == {
        key: value(before, key) for key in known_keys(before)
    }


@for_every_paper
def test_every_key_that_it_defines_is_read(paper, home):
    package = importlib.import_module(f"segplugins.projects.{paper}")
    before, after = shared_config(), shared_config()
    package.add_config(after)
    folder = home(paper) / "projects" / paper
    read = config_keys.keys_read(path for path in folder.rglob("*.py") if path.name != "config.py")
    assert new_keys(before, after) - read == set()
    # And it reads none that nobody defines.
    sections = {key.rpartition(".")[0] for key in known_keys(after)}
    known = set(known_keys(after)) | {
        section[:end] for section in sections for end in range(len(section) + 1)
    }
    assert {key for key in read if key.isupper()} - known == set()


def test_a_sixth_paper_is_found_without_a_word_about_it_anywhere(scratch):
    found = projects.load_projects()
    assert sorted(found) == sorted([*PAPERS, *INVENTED])
    assert Path(found["patchvote"].__file__).is_relative_to(scratch)


def test_every_shared_key_is_read():
    defined = new_keys(get_cfg(), shared_config())
    files = [*ROOT.glob("segplugins/**/*.py"), *ROOT.glob("projects/**/*.py")]
    assert defined - config_keys.keys_read(f for f in files if f.name != "config.py") == set()


def shared_config():
    cfg = get_cfg()
    add_shared_config(cfg)
    return cfg


def new_keys(before, after):
    return set(known_keys(after)) - set(known_keys(before))


def value(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg

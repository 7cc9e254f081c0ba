"""QueryMeldNet in the training loop: texts beyond the limit, steps that are no numbers, decay."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from PIL import Image

from segplugins.data import SegMapper
from segplugins.engine.optim import build_optimizer
from segplugins.engine.steps import StepTrainer
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task
from tests.projects.test_querymeldnet import build, record, tiny_config

NAMES = tuple(f"thing {number}" for number in range(12))
register_vocabulary(Vocabulary("test-meld-many", NAMES))


@pytest.mark.parametrize("limit, texts", [(0, None), (2, 4), (4, 4), (7, 7), (40, 12)])
def test_more_names_than_the_limit_train_and_none_that_is_shown_is_dropped(tmp_path, limit, texts):
    labels = np.zeros((64, 96), np.uint8)
    for place, label in enumerate((3, 5, 9, 11)):
        labels[:, 24 * place : 24 * (place + 1)] = label
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "b.png")
    metadata = SimpleNamespace(
        stuff_classes=list(NAMES), ignore_label=255, vocabulary="test-meld-many"
    )
    mapper = SegMapper(
        True,
        augmentations=[],
        targets=("instances",),
        metadata={"set": metadata},
        max_texts=limit,
    )
    mapped = mapper(
        {
            "file_name": str(tmp_path / "a.png"),
            "sem_seg_file_name": str(tmp_path / "b.png"),
            "dataset": "set",
        }
    )
    if texts is None:
        assert mapped["vocabulary"] == "test-meld-many"
    else:
        assert len(mapped["texts"]) == texts
        shown = [mapped["texts"][k] for k in mapped["instances"].gt_classes.tolist()]
        assert shown == ["thing 3", "thing 5", "thing 9", "thing 11"]
    losses = build().train()([mapped])
    assert all(loss.isfinite() for loss in losses.values())


class Trap(torch.nn.Module):
    """A model whose class logits are no numbers for one image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, records):
        spoil = any(each["file_name"] == "bad.png" for each in records)
        head = self.model.class_head.projection
        handle = head.register_forward_hook(lambda *a: a[2] * (float("nan") if spoil else 1.0))
        losses = self.model(records)
        handle.remove()
        return losses


def steps(model, names, **options):
    batches = [[record(Task.INSTANCE, file_name=name) for name in batch] for batch in names]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trainer = StepTrainer(model, batches, optimizer, **options)
    for trainer.iter in range(len(batches)):
        with EventStorage(trainer.iter):
            trainer.run_step()
    return trainer


def test_a_step_that_is_no_number_names_its_images_and_leaves_the_weights():
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    message = r"not finite at iteration 0: \['loss_class.*images first.png, bad.png\. The weights"
    with pytest.raises(FloatingPointError, match=message):
        steps(Trap(model), [["first.png", "bad.png"]])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_such_a_step_is_left_out_where_that_is_allowed(caplog):
    model = build().train()
    trainer = steps(Trap(model), [["bad.png"], ["good.png"]], max_bad_steps=1)
    assert trainer.bad_steps == 1 and "images bad.png" in caplog.text
    assert "This step is left out, 1 of at most 1" in caplog.text
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert model.criterion.matcher.nonfinite > 0  # costs that are no numbers were counted


def test_scale_bias_and_gates_have_no_weight_decay():
    cfg = tiny_config()
    cfg.SOLVER.OPTIMIZER = "adamw"
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    cfg.SOLVER.NO_WEIGHT_DECAY = ["logit_scale", "logit_bias", "gate_l", "gate_c"]
    model = build()
    optimizer = build_optimizer(cfg, model)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    scalars = {name: decay[id(p)] for name, p in model.named_parameters() if p.dim() == 0}
    assert {"class_head.logit_scale", "class_head.logit_bias"} <= set(scalars)
    assert set(scalars.values()) == {0.0}
    assert decay[id(model.class_head.projection.weight)] == 0.05

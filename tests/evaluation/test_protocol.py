"""What is written beside a number, so that it can be measured again."""

import hashlib
import json

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.config import add_shared_config
from segplugins.evaluation import describe_protocol
from segplugins.structures import Vocabulary, register_vocabulary

OWN = Vocabulary("protocol_test", ("cat", "dog", "background"), none_class="background")
SET = "protocol_test_set"


@pytest.fixture
def cfg():
    register_vocabulary(OWN)
    DatasetCatalog.register(SET, lambda: [])
    MetadataCatalog.get(SET).set(
        evaluator_type="sem_seg",
        vocabulary=OWN.name,
        stuff_classes=list(OWN.classes),
        ignore_label=254,
        seen=(0,),
        licence="CC0",
    )
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.DATASETS.TEST = (SET,)
    yield cfg
    DatasetCatalog.remove(SET)
    MetadataCatalog.pop(SET, None)


def test_the_protocol_names_what_decides_the_number(cfg):
    cfg.TEST.BACKGROUND_THRESHOLD = 0.4
    protocol = describe_protocol(cfg)[SET]
    assert protocol["vocabulary"]["digest"] == OWN.digest()
    assert protocol["vocabulary"]["the data set's own"] is True
    assert protocol["classes"] == list(OWN.classes)
    assert protocol["seen"] == ["cat"]
    assert protocol["ignore"] == {"label": 254, "classes without a name": []}
    assert protocol["background"] == {"class": "background", "where scores are below": 0.4}
    assert protocol["templates"] == cfg.MODEL.CLIP.TEMPLATES
    assert protocol["resize"] == {
        "short side": cfg.INPUT.MIN_SIZE_TEST,
        "long side at most": cfg.INPUT.MAX_SIZE_TEST,
    }
    assert protocol["licence"] == "CC0"
    json.dumps(protocol, allow_nan=False)


def test_the_users_vocabulary_and_what_it_leaves_out_are_told(cfg):
    cfg.TEST.VOCABULARY = "cat, zebra"
    protocol = describe_protocol(cfg)[SET]
    assert protocol["vocabulary"]["names"] == 2
    assert protocol["vocabulary"]["the data set's own"] is False
    assert protocol["ignore"]["classes without a name"] == ["dog", "background"]
    assert protocol["class_map"] == [0, 3]  # 3: none of the three


def test_the_checkpoint_is_known_by_its_content(cfg, tmp_path):
    assert describe_protocol(cfg)[SET]["checkpoint"] == {"file": "", "sha256": None}
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    checkpoint = describe_protocol(cfg, weights=str(path))[SET]["checkpoint"]
    expected = hashlib.sha256(b"weights").hexdigest()
    assert checkpoint == {"file": str(path), "sha256": expected}


def test_the_node_of_the_paper_is_written_and_no_other(cfg):
    cfg.MODEL.SED = CfgNode({"TOP_K": 8})
    cfg.MODEL.UMG_CLIP = CfgNode({"WINDOW": (2, 3)})
    cfg.MODEL.UMG_CLIP.INNER = CfgNode({"DEPTH": 1})
    cfg.MODEL.META_ARCHITECTURE = "SED"
    assert describe_protocol(cfg)[SET]["model"]["settings"] == {"TOP_K": 8}
    cfg.MODEL.META_ARCHITECTURE = "UMGCLIPSegmentor"
    settings = describe_protocol(cfg)[SET]["model"]["settings"]
    assert settings == {"WINDOW": [2, 3], "INNER": {"DEPTH": 1}}
    cfg.MODEL.META_ARCHITECTURE = "Other"
    assert describe_protocol(cfg)[SET]["model"]["settings"] == {}

"""Licences of the COCO and LVIS sets, which detectron2 registers itself."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.datasets.coco_stuff import LICENCE

for _name in DatasetCatalog.list():
    if _name.startswith(("coco_20", "lvis_v")):
        MetadataCatalog.get(_name).licence = LICENCE

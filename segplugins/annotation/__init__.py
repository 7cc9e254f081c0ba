"""The annotation engine: pseudo labels by stages, filters and verifiers, in shards that survive.

interfaces.py     the roles of models: captioner, tagger, detector, segmenter, scorer
adapters/         models behind these roles, and look-ups in files
stage.py          what every stage is given; stages.py, combine.py, filters.py, verify.py hold them
recipe.py         a recipe in YAML, read into stages
pipeline.py       `Annotator` runs a recipe over inputs, shard by shard; ray_backend.py over Ray
statistics.py     counts, and how good labels and filters are against the truth
ranking.py        the images most worth a look
report.py         the page
"""

"""Videos with referring expressions: Ref-YouTube-VOS and Ref-DAVIS17."""

from functools import partial

from segplugins.data.read_video import (
    davis_records,
    youtube_evaluation_records,
    youtube_training_records,
)
from segplugins.data.register import register_videos

YOUTUBE_LICENCE = "annotations CC BY 4.0; videos by YouTube's terms"
DAVIS_LICENCE = "DAVIS 2017 CC BY-NC 4.0; expressions for research"

register_videos(
    "ref_youtube_vos_train",
    youtube_training_records,
    root="ref-youtube-vos",
    licence=YOUTUBE_LICENCE,
)
register_videos(
    "ref_youtube_vos_valid",
    partial(youtube_evaluation_records, split="valid"),
    root="ref-youtube-vos",
    licence=YOUTUBE_LICENCE,
    expected=202,
)
register_videos(
    "ref_youtube_vos_test",
    partial(youtube_evaluation_records, split="test"),
    root="ref-youtube-vos",
    licence=YOUTUBE_LICENCE,
    expected=305,
)
register_videos(
    "ref_davis17_val",
    davis_records,
    root="ref-davis17",
    evaluator_type="ref_davis",
    licence=DAVIS_LICENCE,
    expected=30,
)

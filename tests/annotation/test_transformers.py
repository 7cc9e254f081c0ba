"""Adapters over real classes of transformers: tiny, random, saved to a folder and loaded again."""

import string

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs transformers, extra [annotation]")

from segplugins.annotation.adapters import KINDS  # noqa: E402
from segplugins.annotation.interfaces import Image  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
BOXES = np.array([[2, 3, 20, 30], [10, 10, 50, 38], [0, 0, 60, 40.0]])
WORDS = ["dog", "car", "red", "a", "photo", "of", "picture", "."]


@pytest.fixture(scope="module")
def images():
    draws = np.random.default_rng(0)
    sizes = [(40, 60), (64, 32)]
    return [Image(draws.integers(0, 256, (*size, 3), np.uint8), str(size)) for size in sizes]


def saved(folder, model, processor, **more):
    torch.manual_seed(0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def bert_tokenizer(folder):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    (folder / "vocab.txt").write_text("\n".join([*specials, *WORDS, *letters]))
    return transformers.BertTokenizerFast(str(folder / "vocab.txt"))


def clip_tokenizer(folder):
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    names = [*letters, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(names)}
    import json

    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def build(kind, folder, **options):
    spec = KINDS[kind](folder=str(folder), **options)
    spec.check()
    assert spec.identity()["digest"]
    with torch.inference_mode():
        return spec.build("cpu")


def sam_folder(folder):
    vision = transformers.SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=8, mlp_dim=32, window_size=4, global_attn_indexes=[1],
        num_pos_feats=8,
    )  # fmt: skip
    prompt = transformers.SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8)
    mask = transformers.SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2,
        iou_head_hidden_dim=16,
    )  # fmt: skip
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask
    )
    processor = transformers.SamProcessor(
        transformers.SamImageProcessor(
            size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
        )
    )
    return saved(folder, transformers.SamModel(config), processor)


def test_sam_gives_the_masks_of_its_own_forward(tmp_path, images):
    folder = sam_folder(tmp_path)
    segmenter = build("sam", folder, boxes_at_once=2)
    with torch.inference_mode():
        answers = segmenter.segment_boxes(images, [BOXES, BOXES[:1]])
    assert [a.masks.shape for a in answers] == [(3, 40, 60), (1, 64, 32)]
    model = transformers.SamModel.from_pretrained(folder).eval()
    processor = transformers.SamProcessor.from_pretrained(folder)
    inputs = processor(images[0].pixels, input_boxes=[BOXES.tolist()], return_tensors="pt")
    with torch.inference_mode():
        output = model(**{k: v.float() if v.is_floating_point() else v for k, v in inputs.items()},
                       multimask_output=False)  # fmt: skip
    (masks,) = processor.image_processor.post_process_masks(
        output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    np.testing.assert_array_equal(answers[0].masks, masks[:, 0].numpy())
    np.testing.assert_allclose(
        answers[0].scores, output.iou_scores[0, :, 0].clamp(0, 1).numpy(), atol=1e-4
    )


def test_sam_2_gives_the_masks_of_its_own_forward(tmp_path, images):
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[4, 2, 4, 2],
        global_attention_blocks=[3], window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    prompt = transformers.Sam2PromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16)
    mask = transformers.Sam2MaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2,
        iou_head_hidden_dim=16,
    )  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask
    )
    processor = transformers.Sam2Processor(
        transformers.Sam2ImageProcessor(
            size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16}
        ), target_size=64,
    )  # fmt: skip
    folder = saved(tmp_path, transformers.Sam2Model(config), processor)
    segmenter = build("sam", folder)
    with torch.inference_mode():
        answers = segmenter.segment_boxes(images, [BOXES, BOXES[:1]])
    assert [a.masks.shape for a in answers] == [(3, 40, 60), (1, 64, 32)]
    model = transformers.Sam2Model.from_pretrained(folder).eval()
    inputs = processor(images[0].pixels, input_boxes=[BOXES.tolist()], return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs, multimask_output=False)
    (masks,) = processor.post_process_masks(output.pred_masks, inputs["original_sizes"])
    np.testing.assert_array_equal(answers[0].masks, masks[:, 0].numpy())


def answers_as_its_own_forward(folder, model, processor, images):
    """Compares the adapter's masks and scores of one image with a forward with pixels and boxes."""
    answers = build("sam", folder, boxes_at_once=2)
    with torch.inference_mode():
        answers = answers.segment_boxes(images, [BOXES, BOXES[:1]])
        inputs = processor(images[0].pixels, input_boxes=[BOXES.tolist()], return_tensors="pt")
        given = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
        output = model.eval()(**given, multimask_output=False)
    assert [a.masks.shape for a in answers] == [(3, 40, 60), (1, 64, 32)]
    sizes = [inputs["original_sizes"]]
    sizes += [inputs["reshaped_input_sizes"]] if "reshaped_input_sizes" in inputs else []
    image_processor = getattr(processor, "image_processor", processor)
    (masks,) = image_processor.post_process_masks(output.pred_masks, *sizes)
    np.testing.assert_array_equal(answers[0].masks, masks[:, 0].numpy())
    scores = output.iou_scores[0, :, 0].clamp(0, 1).numpy()
    np.testing.assert_allclose(answers[0].scores, scores, atol=1e-4)


def test_sam_hq_gives_the_masks_of_its_own_forward(tmp_path, images):
    vision = transformers.SamHQVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=8, mlp_dim=32, window_size=4, global_attn_indexes=[1],
        num_pos_feats=8,
    )  # fmt: skip
    prompt = transformers.models.sam_hq.configuration_sam_hq.SamHQPromptEncoderConfig(
        hidden_size=16, image_size=64, patch_size=8
    )
    mask = transformers.models.sam_hq.configuration_sam_hq.SamHQMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2,
        iou_head_hidden_dim=16, vit_dim=16,
    )  # fmt: skip
    config = transformers.SamHQConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask
    )
    processor = transformers.SamHQProcessor(
        transformers.SamImageProcessor(
            size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
        )
    )
    model = transformers.SamHQModel(config)
    torch.manual_seed(0)
    for parameter in model.parameters():  # its own start is 1e-10, whose masks are all alike
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    answers_as_its_own_forward(tmp_path, model, processor, images)


def test_the_tracker_of_sam_3_gives_the_masks_of_its_own_forward(tmp_path, images):
    backbone = transformers.Sam3ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=8, window_size=4, global_attn_indexes=[1],
        pretrain_image_size=32,
    )  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=16,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], scale_factors=[4.0, 2.0, 1.0, 0.5],
    )  # fmt: skip
    parts = transformers.models.sam3_tracker.configuration_sam3_tracker
    prompt = parts.Sam3TrackerPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8)
    mask = parts.Sam3TrackerMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2,
        iou_head_hidden_dim=16,
    )  # fmt: skip
    config = transformers.Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask
    )
    processor = transformers.Sam3TrackerProcessor(
        transformers.Sam3ImageProcessor(
            size={"height": 64, "width": 64}, mask_size={"height": 32, "width": 32}
        ), target_size=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Sam3TrackerModel(config)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    answers_as_its_own_forward(tmp_path, model, processor, images)


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    tokenizer = bert_tokenizer(folder)
    text = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    swin = transformers.SwinConfig(
        window_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], image_size=32,
        out_features=["stage2", "stage3", "stage4"], out_indices=[2, 3, 4],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=10, max_text_len=32, num_feature_levels=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GroundingDinoForObjectDetection(config)
    image_processor = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 128}
    )
    processor = transformers.GroundingDinoProcessor(image_processor, tokenizer)
    return saved(folder, model, processor)


def test_grounding_dino_finds_names_in_texts_that_fit(dino_folder, images):
    detector = build("grounding_dino", dino_folder, threshold=0.0, batch_size=2)
    with torch.inference_mode():
        found = detector.detect(images, [["Red car", "dog"], ["dog"]])
    assert [len(listed) for listed in found] == [10, 10]
    assert {d.text for d in found[0]} <= {"Red car", "dog"} and found[1][0].text == "dog"
    # The boxes are those of the processor, for the same text and the highest score of any token.
    processor = transformers.GroundingDinoProcessor.from_pretrained(dino_folder)
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(dino_folder).eval()
    inputs = processor(images=images[1].pixels, text="dog.", return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=0.0, target_sizes=[images[1].size]
    )
    boxes = np.array([d.box for d in found[1]])
    # Padding the batch to one size may move boxes by a little of a pixel.
    alone = build("grounding_dino", dino_folder, threshold=0.0).detect(images[1:], [["dog"]])[0]
    np.testing.assert_allclose(np.array([d.box for d in alone]), expected["boxes"], atol=1e-3)
    assert boxes.shape == (10, 4)
    column = output.logits.sigmoid()[0, :, 1]  # [CLS] dog . [SEP]
    assert [d.score for d in alone] == pytest.approx(column.tolist(), abs=1e-4)


def test_grounding_dino_asks_many_names_in_several_texts(dino_folder, images):
    detector = build("grounding_dino", dino_folder, threshold=0.0)
    names = [
        f"{a}{b}{c}" for a in "xyz" for b in "qk" for c in "jv"
    ]  # 4 tokens each, with the stop
    with torch.inference_mode():
        (found,) = detector.detect(images[:1], [names])
    assert len(found) == 10 * 2  # 7 names fit into 30 tokens
    assert detector.detect(images[:1], [[]]) == [[]]


def test_owlv2_gives_the_boxes_of_its_own_processor(tmp_path, images):
    tokenizer = clip_tokenizer(tmp_path)
    text = transformers.Owlv2TextConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    vision = transformers.Owlv2VisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    config = transformers.Owlv2Config(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    processor = transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessor(size={"height": 32, "width": 32}), tokenizer
    )
    folder = saved(tmp_path, transformers.Owlv2ForObjectDetection(config), processor)
    detector = build("owlv2", folder, threshold=0.0, template="a {}")
    with torch.inference_mode():
        found = detector.detect(images, [["dog", "red car"], ["dog"]])
    assert [len(listed) for listed in found] == [16, 16] and detector.detect([], []) == []
    assert {d.text for d in found[1]} == {"dog"}
    model = transformers.Owlv2ForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(
        text=[["a dog", "a red car"]], images=images[0].pixels, return_tensors="pt", max_length=40,
    )  # fmt: skip
    with torch.inference_mode():
        output = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        output, threshold=0.0, target_sizes=[images[0].size]
    )
    np.testing.assert_allclose(
        np.array([d.box for d in found[0]]), expected["boxes"].numpy(), atol=1e-2
    )
    assert [d.score for d in found[0]] == pytest.approx(expected["scores"].tolist(), abs=1e-4)
    for detection, logits in zip(found[0], output.logits[0].tolist()):
        if abs(logits[0] - logits[1]) > 1e-3:  # no tie
            assert detection.text == ["dog", "red car"][int(logits[1] > logits[0])]


def test_blip_describes_images_and_boxes(tmp_path, images):
    tokenizer = bert_tokenizer(tmp_path)
    text = transformers.BlipTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, encoder_hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=40,
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id, pad_token_id=tokenizer.pad_token_id,
        projection_dim=16,
    )  # fmt: skip
    vision = transformers.BlipVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    config = transformers.BlipConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    processor = transformers.BlipProcessor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer
    )
    folder = saved(tmp_path, transformers.BlipForConditionalGeneration(config), processor)
    captioner = build("blip", folder, prompts=["a picture of", "red"], count=2, max_tokens=5)
    with torch.inference_mode():
        captions = captioner.caption(images)
        again = captioner.caption(images)
        boxes = captioner.caption_boxes(images, [BOXES, BOXES[:0]], 3)
        plain = build("blip", folder, max_tokens=5).caption(images[:1])
    assert (
        captions == again
        and [[p.prompt_id for p in each] for each in captions] == [[0, 0, 1, 1]] * 2
    )
    assert all(not p.text.startswith("a picture of") for p in captions[0])
    assert all(0 < p.score <= 1 for each in captions for p in each)
    assert [len(each) for each in boxes] == [3, 0]
    for phrases in boxes[0]:
        texts = [phrase.text.lower() for phrase in phrases]
        assert len(texts) == len(set(texts)) <= 3
    assert len(plain[0]) == 1 and plain[0][0].prompt_id is None


def test_blip_2_describes_images_and_boxes_with_and_without_a_prompt(tmp_path, images):
    tokenizer = bert_tokenizer(tmp_path)
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer, 4
    )
    text = transformers.OPTConfig(
        vocab_size=len(processor.tokenizer), hidden_size=16, num_hidden_layers=1, ffn_dim=32,
        num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=16,
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    vision = transformers.Blip2VisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    former = transformers.Blip2QFormerConfig(
        vocab_size=len(processor.tokenizer), hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32, encoder_hidden_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    config = transformers.Blip2Config(
        vision_config=vision.to_dict(), qformer_config=former.to_dict(),
        text_config=text.to_dict(), num_query_tokens=4,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model = transformers.Blip2ForConditionalGeneration(config)
    folder = saved(tmp_path, model, processor)
    captioner = build("blip", folder, prompts=["a photo of", "red"], count=2, max_tokens=5)
    with torch.inference_mode():
        captions = captioner.caption(images)
        boxes = captioner.caption_boxes(images, [BOXES, BOXES[:0]], 3)
        plain = build("blip", folder, max_tokens=5).caption(images)
    assert [[p.prompt_id for p in each] for each in captions] == [[0, 0, 1, 1]] * 2
    assert all("image" not in p.text for each in [*captions, *plain] for p in each)
    assert all(not p.text.startswith("a photo of") for p in captions[0])
    assert [len(each) for each in boxes] == [3, 0] and [len(each) for each in plain] == [1, 1]


def test_a_folder_of_another_model_is_one_line(tmp_path, dino_folder):
    with pytest.raises(ValueError, match="does not load as kind 'sam'") as caught:
        KINDS["sam"](folder=str(dino_folder)).build("cpu")
    assert "\n" not in str(caught.value)

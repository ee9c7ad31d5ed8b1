"""Stores in the formats of others: FreiHAND, COCO, HandSynthesis, WebDataset, Hugging Face."""

"""Write a CLIP of the embedded one's shape with random weights: python random_clip.py FOLDER."""

import sys

import torch
from transformers import CLIPConfig, CLIPModel

from bandweave.nn.clip.files import EMBEDDED_FOLDER

torch.manual_seed(0)
CLIPModel(CLIPConfig.from_pretrained(EMBEDDED_FOLDER)).save_pretrained(sys.argv[1])

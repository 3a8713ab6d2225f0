"""Losses: pure, one value an example, float32; the step takes the mean (`losses.parallel`)."""

from gazax.losses.alignment import attention_alignment as attention_alignment
from gazax.losses.contrastive import info_nce as info_nce
from gazax.losses.contrastive import info_nce_keys as info_nce_keys
from gazax.losses.contrastive import info_nce_queue as info_nce_queue
from gazax.losses.contrastive import sup_con as sup_con
from gazax.losses.multitask import uncertainty_weighted as uncertainty_weighted
from gazax.losses.pairs import has_triplet as has_triplet
from gazax.losses.regional import regional_contrast as regional_contrast
from gazax.losses.regression import cosine_regression as cosine_regression
from gazax.losses.saliency import saliency_kl as saliency_kl
from gazax.losses.supervised import multiclass as multiclass
from gazax.losses.supervised import multilabel as multilabel
from gazax.losses.supervised import segmentation_loss as segmentation_loss
from gazax.losses.triplet import triplet_margin as triplet_margin

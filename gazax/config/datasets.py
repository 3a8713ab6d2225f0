"""What each data set asks of a config: its labels, and how much gaze an image can have."""

from collections.abc import Callable

from ml_collections import ConfigDict

from gazax.config.arguments import choose

# Columns of the phases 2 and 3 of REFLACX 1.0.0 but its free text ('Other').
REFLACX_LABELS = (
    "Abnormal mediastinal contour",
    "Acute fracture",
    "Atelectasis",
    "Consolidation",
    "Enlarged cardiac silhouette",
    "Enlarged hilum",
    "Groundglass opacity",
    "Hiatal hernia",
    "High lung volume / emphysema",
    "Interstitial lung disease",
    "Lung nodule or mass",
    "Pleural abnormality",
    "Pneumothorax",
    "Pulmonary edema",
    "Support devices",
)
CHESTXRAY14_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
CHEXPERT_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)


EGD_CXR_LABELS = ("Normal", "CHF", "pneumonia")
CREDENTIALED = ("reflacx", "egd_cxr", "mimic_cxr", "rsna_pneumonia", "chestxray14")
"""Radiographs that one asks for; pretraining on them has the proposal's sizes."""


EXCLUSIVE = ("phantom", "egd_cxr")
"""Of which every image has exactly one of the labels below."""
IMAGES = {"reflacx": 2616, "egd_cxr": 1083, "rsna_pneumonia": 26684}
"""How many a data set has, of those of which no other choice says which are used."""


def use_data(config: ConfigDict, name: str) -> None:
    """Sets what follows from the data set, but the size of the images."""
    choose("data", name, DATA)(config.data)
    config.data.name = name


def _phantom(data: ConfigDict) -> None:
    data.labels = ("normal", "pneumonia", "heart_failure")
    data.source = dict(count=1200, image_size=128, seed=0, contrast=1.0, lesions=2.0)
    data.max_readers = 3  # each image is read by three of the simulated readers
    data.max_fixations = 512  # readers dwell longer where lesions are plain to see


def _gaze_folder(data: ConfigDict) -> None:
    data.source = dict(  # ours; how samples.csv becomes fixations
        fixation_algorithm="idt",
        degree_fraction=1 / 28,
        dispersion_deg=1.0,
        velocity_deg_s=30.0,
        min_duration_s=0.1,
        max_gap_s=0.1,
    )


def _reflacx(data: ConfigDict) -> None:
    data.labels = REFLACX_LABELS
    data.source = dict(phases=(1, 2, 3), label_set="phases_2_3", certainty=3, mimic_cxr="")
    data.max_readers = 5  # five radiologists
    data.max_fixations = 1024  # ours: five readings of one image
    data.max_boxes = 32  # ours


def _egd_cxr(data: ConfigDict) -> None:
    data.labels = EGD_CXR_LABELS
    data.source = dict(gaze="fixations", uncertain="unknown", blank="negative", mimic_cxr="")
    data.max_readers = 1  # one radiologist
    data.max_boxes = 32  # ours: about 17 structures


def _mimic_cxr(data: ConfigDict) -> None:
    _without_gaze(data, CHEXPERT_LABELS)
    data.source = dict(
        labels="chexpert",  # chexpert | negbio
        uncertain="unknown",  # unknown | positive | negative: what -1 is
        blank="negative",  # negative | unknown: what no value is
        views=("AP", "PA"),  # () = all
        mimic_cxr="",
    )


def _rsna_pneumonia(data: ConfigDict) -> None:
    _without_gaze(data, ("Pneumonia",))
    data.source = dict(splits="")  # a csv of image_id,split; '' = drawn by patient


def _chestxray14(data: ConfigDict) -> None:
    _without_gaze(data, CHESTXRAY14_LABELS)
    data.source = dict(splits="")  # the same; '' = its official lists


def _without_gaze(data: ConfigDict, labels: tuple[str, ...]) -> None:
    data.labels = labels
    data.max_readers = data.max_fixations = 1


DATA: dict[str, Callable[[ConfigDict], None]] = {
    "phantom": _phantom,
    "gaze_folder": _gaze_folder,
    "reflacx": _reflacx,
    "egd_cxr": _egd_cxr,
    "mimic_cxr": _mimic_cxr,
    "rsna_pneumonia": _rsna_pneumonia,
    "chestxray14": _chestxray14,
}

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
    data.max_readers = 5  # five radiologists
    data.max_fixations = 1024  # ours: five readings of one image


def _without_gaze(labels: tuple[str, ...]) -> Callable[[ConfigDict], None]:
    def settings(data: ConfigDict) -> None:
        data.labels = labels
        data.max_readers = data.max_fixations = 1

    return settings


DATA: dict[str, Callable[[ConfigDict], None]] = {
    "phantom": _phantom,
    "gaze_folder": _gaze_folder,
    "reflacx": _reflacx,
    "rsna_pneumonia": _without_gaze(("Pneumonia",)),
    "chestxray14": _without_gaze(CHESTXRAY14_LABELS),
    "mimic_cxr": _without_gaze(CHEXPERT_LABELS),
}

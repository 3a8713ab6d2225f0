"""Which part of GazAT does it? Each loss, and the blend by gaze, taken away (§2.5.4, 1).

    python -m gazax.sweep --config=configs/ablations/terms.py --out=runs/terms
    python -m gazax.sweep --config=configs/ablations/terms.py:contrast=3 --out=runs/terms_3
    python -m gazax.sweep --config=configs/ablations/terms.py:smoke --out=runs/terms_smoke

`full`, which the others are compared with, has all of them; `no_attention` leaves out the alignment
(alpha), `no_regions` the regional contrast (beta), `no_blend` the disturbance of what was not
looked at (T_g: both views are standard views); `only_blend`, `only_attention` and `only_regions`
have one of them beside the contrast, `only_contrast` none, which makes it SimCLR on standard views.
`:study` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

NO_ATTENTION, NO_REGIONS = "method.alpha=0.0", "method.beta=0.0"
NO_BLEND = (  # a strong transform that changes nothing
    "views.strong.brightness=0.0",
    "views.strong.contrast=0.0",
    "views.strong.gamma=0.0",
    "views.strong.blur=0.0",
    "views.strong.noise=0.0",
    "views.strong.cutout_count=0",
)
CHANGES = {
    "full": (),
    "no_attention": (NO_ATTENTION,),
    "no_regions": (NO_REGIONS,),
    "no_blend": NO_BLEND,
    "only_blend": (NO_ATTENTION, NO_REGIONS),
    "only_attention": (NO_REGIONS, *NO_BLEND),
    "only_regions": (NO_ATTENTION, *NO_BLEND),
    "only_contrast": (NO_ATTENTION, NO_REGIONS, *NO_BLEND),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    return ablations.pretraining_sweep(
        ablations.of_gazat(CHANGES), reference="full", smoke=arg.smoke, contrast=arg.contrast
    )

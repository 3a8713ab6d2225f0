"""What configs share: a config starts from `base` and adds its data, model and method.

Each number says where it comes from: a section of the proposal, or ours and why.
"""

from ml_collections import ConfigDict

from gazax.config.arguments import choose, of_run
from gazax.config.datasets import use_data
from gazax.typing import InputError


def base() -> ConfigDict:
    """Everything but `model` and `method`: data, gaze, views, training and evaluation."""
    config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.name = ""
    config.data.root = ""  # the user's source, never written to
    config.data.cache = ""  # prepared records; '' = GAZAX_DATA, else the user's cache folder
    config.data.size = (64, 64)  # ours: what two cores train on in minutes
    config.data.labels = ()  # () = every label column of the source
    config.data.max_fixations = 512  # ours: rows a batch holds; more in the data is an error
    config.data.max_readers = 16
    config.data.max_boxes = 8
    config.data.masks = False
    config.data.protocol = "strict"  # by patient | paper: at random, chosen on the test images
    config.data.balanced = False  # True: training batches take the classes in turn
    config.data.max_bad_fraction = 0.01  # faulty rows that preparation bears
    config.data.keep_ids = False  # True: ids as they are, not as pseudonyms, in all that is written
    config.data.num_threads = 2
    config.data.num_workers = 0
    config.data.source = ConfigDict()  # arguments of the data set's reader

    # Gaze, in training; what is evaluated against is always the people's own, as it is.
    # own | the controls shuffled, random, mean, none | predicted:WORKDIR for images without gaze
    config.data.gaze = "own"
    config.data.gaze_fraction = 1.0  # of the training images, how many keep their gaze
    config.data.gaze_rate = 0.0  # share of each batch that has gaze; 0 = as it comes
    config.data.readers = ()  # ids of the readers who are kept; () = all
    config.data.reader_weights = "given"  # given (readers.csv) | equal
    config.data.normalize_readers = True  # §2.2.2, each reader's map to [0, 1] before the mean
    config.data.weight_by = "duration"  # §2.2.2 | count
    config.data.part = "all"  # all | early | late
    config.data.sigma = "given"  # given, where the data has it | fraction
    config.data.sigma_fraction = 1 / 28  # of the longer side; ours: one degree in REFLACX
    config.data.window = True  # draw a fixation only where the reader could see

    config.views = ConfigDict()
    config.views.mean = 0.5  # ours: the backbone sees (pixels - mean) / std
    config.views.std = 0.25
    config.views.standard = dict(
        crop=(0.8, 1.0),  # §2.4
        rotation_degrees=10.0,  # §2.4
        brightness=0.2,  # §2.4
        contrast=0.2,  # §2.4
    )

    config.init_from = ConfigDict()
    config.init_from.path = ""  # a workdir, stage:NAME or a safetensors file; '' = random weights
    config.init_from.allow_pickle = False  # True: also torch's .pth, .pt, .bin, by weights_only
    config.init_from.which = "best"  # best | last
    config.init_from.scopes = ()  # source:target, or a name for both; () = all, by name
    config.init_from.fresh = ()  # scopes that stay as they are drawn
    config.freeze = ()  # regexes of parameters that are not trained, such as backbone/.*

    config.optim = ConfigDict()
    config.optim.name = "adamw"  # adamw | lars
    config.optim.learning_rate = 2e-3  # ours: short runs of a small net
    config.optim.schedule = "cosine"  # cosine | constant
    config.optim.layer_decay = 1.0  # learning rate of a layer over that of the next
    config.optim.weight_decay = 0.05  # ours
    config.optim.warmup_fraction = 0.1  # ours, of all steps
    config.optim.clip_norm = 1.0  # ours

    config.train = ConfigDict()
    config.train.batch_size = 64  # ours, global: more steps in the same minutes
    config.train.steps = 250  # ours; used where epochs is 0
    config.train.epochs = 0
    config.train.patience = 0  # evaluations without a better one, until it stops; 0 = never
    config.train.cache_frozen = False  # True: what frozen parts give is computed once and kept
    config.train.parallel = "jit"
    config.train.fsdp = 1
    config.train.log_every = 10
    config.train.profile = ()  # first and last step of a window to trace, such as 20,29
    config.train.eval_every = 50  # 0 = once an epoch
    config.train.checkpoint_every = 50  # 0 = once an epoch
    config.train.keep = 3

    config.eval = ConfigDict()
    config.eval.batch_size = 128
    config.eval.overlays = 4
    config.eval.sigma_fraction = 1 / 28  # of the gaze that is measured against, as above
    config.eval.monitor = ()  # the first that exists chooses the best step, on validation
    return config


def gazat(config: ConfigDict) -> None:
    """GazAT's method, views and evaluation (proposal §2.3); sizes fit a backbone of 4 levels."""
    config.views.strong = dict(  # §2.3.2 leaves T_strong open; ours: photometric
        brightness=0.4,
        contrast=0.4,
        gamma=0.5,
        blur=0.01,
        noise=0.05,
        cutout_count=4,
        cutout_side=(0.1, 0.3),
    )
    config.method = ConfigDict()
    config.method.name = "gazat"
    config.method.projector = dict(  # §2.4
        num_layers=2, hidden_dim=256, out_dim=256, norm="none"
    )
    config.method.temperature = 0.1  # ours
    config.method.alpha = 10.0  # ours: at 1 the attention's gradient is 1/40 of the contrast's
    config.method.beta = 0.5  # ours
    config.method.look_first = 0.0  # ours: share of the run in which the contrasts' weights rise
    config.method.attention = "rows"  # rows | rollout | energy | grad_cam | module
    config.method.grad_cam_weights = "constant"  # ours: first order; differentiated: second
    config.method.module_dim = 64  # ours: hidden channels of the attention module
    config.method.pooling = "backbone"  # §2.3 | attention | both
    config.method.levels = (1, 2, 3)  # ours: every level but the first
    config.method.level_weights = (1 / 3, 1 / 3, 1 / 3)  # ours
    config.method.distance = "kl"  # §2.3.3
    config.method.regions = "soft"  # ours | top
    config.method.top_fraction = 0.25  # ours: of the cells, for regions=top
    config.method.positives = "view"  # §2.3.3 | label | gaze
    config.method.gaze_similarity = 0.7  # ours: correlation, for positives=gaze
    config.method.regional_temperature = 0.1  # ours
    config.eval.suite = "pretraining"
    # None: the last step counts. Attention against gaze would choose an early step, by chance,
    # for the controls that are not trained on it, and what follows would be compared unfairly.
    config.eval.monitor = ()


def transfer(*, data: str, init_from: str, random: bool, model: str) -> ConfigDict:
    """The beginning of a config that takes up a workdir's model, data and weights.

    Args:
      data: a key of `DATA`; '' = the workdir's own, or the phantom.
      init_from: a workdir of `gazax.main`; '' = a small model with random weights.
      random: keep the workdir's model and data and leave its weights: the comparison.
      model: 'vit' (also for '') or 'resnet', where there is no workdir.
    """
    if init_from and model:
        raise InputError(
            f"config arguments init_from={init_from} and model={model}: a workdir brings its own "
            "model; leave one of them out."
        )
    if init_from:
        config = follow(of_run(init_from), data=data)
    else:
        source = base()
        models = {"vit": small_vit, "resnet": small_resnet}
        source.model = choose("model", model or "vit", models)()
        config = follow(source, data=data or "phantom")
    config.init_from.path = init_from
    if random or not init_from:
        config.init_from.path = ""
        config.optim.layer_decay = 1.0  # layers that are still random have to learn
    return config


def follow(source: ConfigDict, *, data: str = "") -> ConfigDict:
    """`base` for what follows a run: its model and image size, its data unless ``data`` is given.

    The backbone begins with the weights of `init_from.path`, which the config has yet to name.
    """
    config = base()
    config.model = ConfigDict(source.model.to_dict())
    config.data.size = source.data.size
    config.views.update({key: source.views[key] for key in ("mean", "std")})
    if data:
        use_data(config, data)
    else:
        same_data(config, source)
    config.init_from.scopes = ("backbone",)
    config.init_from.fresh = ("head",)
    config.train.epochs = 50  # §2.4
    config.train.patience = 8  # ours: evaluations, of about 13 at 50 epochs of the phantom
    config.optim.learning_rate = 1e-3  # ours: a small net; §2.4 gives 1e-4 for the large ones
    if config.model.name == "vit":
        config.optim.layer_decay = 0.75  # ours, as BEiT and MAE fine-tune
    return config


def same_data(config: ConfigDict, source: ConfigDict) -> None:
    """The data of another config, split as it splits them; how their gaze is used is not taken."""
    keys = ("name", "root", "cache", "labels", "keep_ids", "protocol", "size")
    keys += ("max_fixations", "max_readers", "max_boxes")
    config.data.update({key: source.data[key] for key in keys})
    config.data.source = ConfigDict(source.data.source.to_dict())


def small_vit() -> ConfigDict:
    """A ViT that two cores train in minutes: 8 x 8 tokens at 64 px."""
    model = ConfigDict()
    model.name = "vit"
    model.patch_size = 8  # ours, like the rest
    model.width = 96
    model.depth = 4
    model.num_heads = 3
    model.stem = "patch"  # patch | conv
    model.dtype = "float32"
    model.remat = False
    return model


def small_resnet() -> ConfigDict:
    """The smallest of the published ResNets."""
    model = ConfigDict()
    model.name = "resnet"
    model.depth = 18  # ours
    model.dtype = "float32"
    model.remat = False
    return model


def classification(config: ConfigDict) -> None:
    """A linear head on the backbone, and its evaluation."""
    config.method = ConfigDict()
    config.method.name = "supervised"
    config.method.task = ""  # multiclass | multilabel; '' = as the labels are
    config.method.label_smoothing = 0.0
    config.method.balance_classes = False  # True: class_weight follows from the training labels
    config.method.class_weight = ()  # of one question: one weight each; () = all 1
    config.method.positive_weight = ()  # of many labels: one weight each; () = all 1
    config.method.attention = "grad_cam"  # of the highest logit | energy; of a ViT: rows | rollout
    config.method.levels = (-1,)
    config.eval.suite = "classification"
    config.eval.monitor = ("validation/auc_macro",)


def probe(config: ConfigDict) -> None:
    """Only the head learns, from undisturbed images."""
    config.freeze = ("backbone/.*",)
    config.views.standard.update(
        crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0
    )
    config.optim.learning_rate = 1e-2  # ours
    config.optim.layer_decay = 1.0
    config.optim.weight_decay = 0.0  # ours: early stopping instead


def segmentation(config: ConfigDict) -> None:
    """A decoder on the backbone's levels, and its evaluation."""
    config.method = ConfigDict()
    config.method.name = "segmentation"
    config.method.target = "mask"  # mask | box
    config.method.decoder = "unet"  # unet | linear
    config.method.bce_weight = 1.0  # ours
    config.method.dice_weight = 1.0  # ours
    config.data.masks = True
    config.eval.suite = "segmentation"
    config.eval.monitor = ("validation/dice",)


def proposals_pretraining(config: ConfigDict) -> None:
    """The proposal's rates and lengths, with a cadence for hours (§2.4)."""
    config.data.size = (224, 224)  # ours: what ViT-B/16 and ResNet-50 are made for
    config.model.dtype = "bfloat16"
    config.optim.learning_rate = 1e-4  # §2.4
    config.train.batch_size = 128  # §2.4
    config.train.epochs = 200  # §2.4
    config.train.log_every = 50
    config.train.eval_every = config.train.checkpoint_every = 500


def large_transfer(config: ConfigDict) -> None:
    """The proposal's batch, and a cadence that does not grow with the data set."""
    config.train.batch_size = 128  # §2.4
    config.train.log_every = 50
    config.train.eval_every = config.train.checkpoint_every = 0  # once an epoch


def in_stages(**configs: ConfigDict) -> ConfigDict:
    """A config of several stages, run in the order given."""
    config = ConfigDict()
    config.stages = ConfigDict(sort_keys=False)
    for name, stage in configs.items():
        config.stages[name] = stage
    return config


def tiny(config: ConfigDict) -> None:
    """A few steps on 48 images of 32 px, for tests; the model is the config's to make small."""
    config.data.size = (32, 32)
    if config.data.name == "phantom":
        config.data.source.update(count=48, image_size=64)
    _few_steps(config)


def tiny_transfer(config: ConfigDict, *, pretrained: bool) -> None:
    """`tiny`, for what follows pretraining: a pretrained model and its data are as they are."""
    if pretrained:
        _few_steps(config)
        return
    tiny(config)
    small = {"vit": dict(width=32, depth=2, num_heads=2), "resnet": dict(depth=10)}
    config.model.update(small[config.model.name])


def _few_steps(config: ConfigDict) -> None:
    config.train.update(
        batch_size=16, steps=30, epochs=0, log_every=5, eval_every=10, checkpoint_every=10
    )
    config.eval.update(batch_size=16, overlays=3)

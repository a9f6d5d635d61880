"""The public names, for type checkers; ``__init__.py`` loads them at first use."""

from . import (
    app as app,
    attention as attention,
    base as base,
    beyond as beyond,
    captions as captions,
    checkpoint as checkpoint,
    concept as concept,
    concept_token as concept_token,
    drift as drift,
    encoding as encoding,
    engine as engine,
    explaining as explaining,
    fallback as fallback,
    families as families,
    generation as generation,
    images as images,
    judges as judges,
    learner as learner,
    loading as loading,
    lora as lora,
    losses as losses,
    map_losses as map_losses,
    maps as maps,
    metrics as metrics,
    model_card as model_card,
    models as models,
    offload as offload,
    optimizers as optimizers,
    options as options,
    passes as passes,
    people as people,
    personalization as personalization,
    photos as photos,
    pictures as pictures,
    plots as plots,
    preference as preference,
    pretraining as pretraining,
    provenance as provenance,
    recipes as recipes,
    recording as recording,
    records as records,
    regularizer as regularizer,
    reports as reports,
    result as result,
    sampling as sampling,
    seam as seam,
    sharding as sharding,
    shares as shares,
    study as study,
    system as system,
    targets as targets,
    teaching as teaching,
    text_losses as text_losses,
    tiers as tiers,
    tinymodel as tinymodel,
    toyworld as toyworld,
    trackers as trackers,
    training as training,
    widgets as widgets,
    words as words,
)
from .attention import capture_attention as capture_attention, selection as selection
from .base import (
    Base as Base,
    Drawable as Drawable,
    StableDiffusion as StableDiffusion,
    StableDiffusionXL as StableDiffusionXL,
    load_base as load_base,
)
from .checkpoint import (
    CheckpointError as CheckpointError,
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .concept import Concept as Concept, bundled_concepts as bundled_concepts
from .concept_token import ConceptToken as ConceptToken, TokenError as TokenError
from .drift import Drift as Drift, Projection as Projection
from .engine import TrainingError as TrainingError, make_accelerator as make_accelerator
from .generation import (
    Generation as Generation,
    PromptError as PromptError,
    Sampling as Sampling,
    generate as generate,
    prompt_words as prompt_words,
)
from .images import Augmentation as Augmentation, ConceptError as ConceptError
from .judges import load_clip as load_clip, load_judge as load_judge
from .learner import Learner as Learner
from .loading import BaseModelError as BaseModelError
from .maps import aggregate as aggregate
from .metrics import (
    Interval as Interval,
    bootstrap as bootstrap,
    evaluate_result as evaluate_result,
)
from .options import RunOptions as RunOptions
from .personalization import Run as Run, personalize as personalize
from .recipes import (
    RECIPES as RECIPES,
    Lora as Lora,
    Recipe as Recipe,
    Stage as Stage,
    recipe as recipe,
    recipe_table as recipe_table,
    scaled as scaled,
)
from .recording import Recording as Recording, record as record
from .records import StepRecord as StepRecord
from .regularizer import map_statistics as map_statistics, stack_statistics as stack_statistics
from .result import Result as Result, SavedResult as SavedResult, load_result as load_result
from .shares import attention_shares as attention_shares
from .system.paths import data_dir as data_dir, data_path as data_path
from .training import train_stage as train_stage

__version__: str

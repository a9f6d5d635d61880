"""The public names, for type checkers; ``__init__.py`` loads them at first use."""

from . import (
    app as app,
)
from . import (
    attention as attention,
)
from . import (
    base as base,
)
from . import (
    checkpoint as checkpoint,
)
from . import (
    concept as concept,
)
from . import (
    concept_token as concept_token,
)
from . import (
    drift as drift,
)
from . import (
    engine as engine,
)
from . import (
    generation as generation,
)
from . import (
    images as images,
)
from . import (
    judges as judges,
)
from . import (
    learner as learner,
)
from . import (
    loading as loading,
)
from . import (
    losses as losses,
)
from . import (
    maps as maps,
)
from . import (
    metrics as metrics,
)
from . import (
    model_card as model_card,
)
from . import (
    options as options,
)
from . import (
    personalization as personalization,
)
from . import (
    pictures as pictures,
)
from . import (
    plots as plots,
)
from . import (
    recipes as recipes,
)
from . import (
    recording as recording,
)
from . import (
    records as records,
)
from . import (
    regularizer as regularizer,
)
from . import (
    result as result,
)
from . import (
    system as system,
)
from . import (
    teaching as teaching,
)
from . import (
    tinymodel as tinymodel,
)
from . import (
    toyworld as toyworld,
)
from . import (
    training as training,
)
from . import (
    widgets as widgets,
)
from .attention import capture_attention as capture_attention
from .attention import selection as selection
from .base import Base as Base
from .base import Drawable as Drawable
from .base import StableDiffusion as StableDiffusion
from .base import load_base as load_base
from .checkpoint import CheckpointError as CheckpointError
from .checkpoint import load_checkpoint as load_checkpoint
from .checkpoint import save_checkpoint as save_checkpoint
from .concept import Concept as Concept
from .concept import bundled_concepts as bundled_concepts
from .concept_token import ConceptToken as ConceptToken
from .concept_token import TokenError as TokenError
from .drift import Drift as Drift
from .drift import Projection as Projection
from .engine import TrainingError as TrainingError
from .engine import make_accelerator as make_accelerator
from .generation import Generation as Generation
from .generation import PromptError as PromptError
from .generation import Sampling as Sampling
from .generation import generate as generate
from .generation import prompt_words as prompt_words
from .images import Augmentation as Augmentation
from .images import ConceptError as ConceptError
from .judges import load_clip as load_clip
from .judges import load_judge as load_judge
from .learner import Learner as Learner
from .loading import BaseModelError as BaseModelError
from .maps import aggregate as aggregate
from .metrics import Interval as Interval
from .metrics import bootstrap as bootstrap
from .metrics import evaluate_result as evaluate_result
from .options import RunOptions as RunOptions
from .personalization import Run as Run
from .personalization import personalize as personalize
from .recipes import RECIPES as RECIPES
from .recipes import Recipe as Recipe
from .recipes import Stage as Stage
from .recipes import recipe as recipe
from .recipes import recipe_table as recipe_table
from .recipes import scaled as scaled
from .recording import Recording as Recording
from .recording import record as record
from .records import StepRecord as StepRecord
from .regularizer import map_statistics as map_statistics
from .regularizer import stack_statistics as stack_statistics
from .result import Result as Result
from .result import SavedResult as SavedResult
from .result import load_result as load_result
from .system.paths import data_dir as data_dir
from .system.paths import data_path as data_path
from .training import train_stage as train_stage

__version__: str

"""The tiny model's U-Net and its noise schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tokenizer import TEXT_WIDTH
from .vae import LATENT_CHANNELS

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel

WIDTHS = (96, 160, 192)  # channels at 16x16, 8x8 and 4x4


def build_unet(latent_channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """Cross-attention at 16x16 and 8x8, and between at 4x4; heads of 32 channels everywhere.

    diffusers reads ``attention_head_dim`` as the NUMBER of heads (a historical slip it keeps).
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(width // 32 for width in WIDTHS),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule with v-prediction.

    Trailing spacing: sampling starts at the noisiest step, which is the nearest to the pure
    noise that it starts from (Lin et al. 2024).
    """
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=False,
    )


def build_sampler() -> DPMSolverMultistepScheduler:
    """How pictures are drawn: DPM-Solver++ with fresh noise in every step (Lu et al. 2022).

    Without it this U-Net leaves stray lines in pictures, at 100 steps as at 25; fresh noise gives
    later steps the chance to mend what earlier ones got wrong, at the same cost.
    """
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler.from_config(
        build_scheduler().config, algorithm_type="sde-dpmsolver++"
    )

"""What the gallery says of each data set: its equation, where it comes from, and what differs.

Data sets with one equation and one source are a family. Facts only: what can be computed from a
data set (its categories, settings, images, speed) is not written down here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FAMILIES", "Family", "Source"]


@dataclass(frozen=True)
class Source:
    """Where a family was published.

    Args:
        paper: Authors, title and place.
        repository: "owner/name" of the published program; None where there is none.
        licence: Of that program.
    """

    paper: str
    repository: str | None = None
    licence: str = "no program published"


@dataclass(frozen=True)
class Family:
    """Data sets of one equation.

    Args:
        title: What they are called together.
        datasets: What each is, in a sentence, by the name in `list_datasets()`.
        equation: Its lines, as text.
        sources: The papers.
        otherwise: What the published program does otherwise than its paper, or than its reader
            expects, and what is done here.
    """

    title: str
    datasets: dict[str, str]
    equation: tuple[str, ...]
    sources: tuple[Source, ...]
    otherwise: tuple[str, ...]


_OFDB: Final = Source(
    "Nakamura et al., Pre-training Vision Transformers with Very Limited Synthesized Images, "
    "ICCV 2023",
    "ryoo-nakamura/OFDB",
    "MIT",
)
_CONTOUR_NOISE: Final = (
    "What is called Perlin noise is white: every vertex of every polygon has an argument of its "
    "own, so that neighbours share nothing. Drawn here as its program has it.",
    "The published categories depend on the number of worker processes. Here a category is a "
    "function of its number.",
)
_CONTOUR_START: Final = "x₀ = c + r o cos θᵥ,  y₀ = c′ + r o′ sin θᵥ,  θᵥ = 2πv / V,  v = 0 … V − 1"

FAMILIES: Final = (
    Family(
        title="FractalDB",
        datasets={
            "fractaldb-1k": "The published categories, found again by the published search.",
            "fractaldb-10k": "The same search carried on to 10,000 categories.",
            "fractaldb-1k-color": "The same categories in the published colours.",
        },
        equation=(
            "x′ = aₖ x + bₖ y + eₖ,  y′ = cₖ x + dₖ y + fₖ",
            "map k of 2 … 7 with probability pₖ ∝ |aₖ dₖ − bₖ cₖ|,  a … f uniform in (−1, 1)",
            "instance: one coefficient of all maps × 0.2, 0.6, 1, 1.4 or 1.8; 3×3 patch a point",
        ),
        sources=(
            Source(
                "Kataoka et al., Pre-training without Natural Images, IJCV 2022",
                "hirokatsukataoka16/FractalDB-Pretrained-ResNet-PyTorch",
                "MIT",
            ),
        ),
        otherwise=(
            "The paper has ten patch patterns. In the program every point has a random mask of its "
            "own, and the ten are ten redraws. So it is here.",
            "One walk, seeded alike, serves every instance: of the 1,000 images of a category, 25 "
            'differ in geometry. Here every sample has a walk of its own; instances="published" '
            "has theirs.",
            "The paper words the last step as rotations, the program flips. Here it flips; "
            'turns="rotations" follows the paper.',
            "Some 7 % of the published variants cover less than 1 % of the image, and nothing "
            "leaves them out. Nor is it done here, unless min_coverage is set.",
        ),
    ),
    Family(
        title="OFDB: one image a category",
        datasets={
            "ofdb-1k": "As the published program draws it.",
            "ofdb-1k-paper": "As the paper means it: each category with its own parameters.",
        },
        equation=(
            "x′ = w aₖ x + bₖ y + eₖ,  y′ = cₖ x + dₖ y + fₖ",
            "the categories of FractalDB, one image of each; w = 0.2 as published, 1 in the paper",
        ),
        sources=(_OFDB,),
        otherwise=(
            "The program takes the first row of the table of weights, which multiplies every a by "
            "0.2, so that no category is drawn with its own parameters. ofdb-1k does so, too; "
            "ofdb-1k-paper does not.",
        ),
    ),
    Family(
        title="1p-frac: one fractal, perturbed",
        datasets={
            "1p-frac": "Perturbations by up to 10 %, the paper's choice.",
            "1p-frac-0.01": "Perturbations by up to 1 %.",
            "1p-frac-0.05": "Perturbations by up to 5 %.",
            "1p-frac-0.2": "Perturbations by up to 20 %.",
        },
        equation=(
            "x′ = aₖ x + bₖ y + eₖ,  y′ = cₖ x + dₖ y + fₖ,  k = 1, 2",
            "category: each of the 12 coefficients × its own factor, uniform in [1 − Δ, 1 + Δ)",
            "σ₁₁ + 2σ₁₂ + σ₂₁ + 2σ₂₂ within 0.1 of 3.5 (σ: singular values of the two maps)",
        ),
        sources=(
            Source(
                "Nakamura et al., Scaling Backwards: Minimal Synthetic Pre-training?, ECCV 2024",
                "SUPER-TADORY/1p-frac",
                "MIT",
            ),
        ),
        otherwise=(
            "The paper has a sigma factor of 3.5, as the program's default; the script that calls "
            "it passes 4.0. Here it is 3.5.",
            "The program is not seeded and makes another fractal at every run. Here the fractal is "
            "a function of a seed.",
        ),
    ),
    Family(
        title="3D FractalDB: MV-FractalDB and ExFractalDB",
        datasets={
            "exfractaldb-1k": "Seen from random directions, as the paper has it.",
            "mvfractaldb-1k": "Seen from twelve places on the equator.",
        },
        equation=(
            "v′ = Aₖ v + tₖ,  v in space,  pₖ ∝ |det Aₖ|,  2 … 7 maps, uniform in (−1, 1)",
            "pixel = centre + (S/2) cot 22.5° · (X / Z, Y / Z),  camera at distance 4",
            "instance: one of 12 coefficients of all maps × 0.4, 0.5, … 1.6; 145 rows",
        ),
        sources=(
            Source(
                "Yamada et al., MV-FractalDB: Formula-driven Supervised Learning for Multi-view "
                "Image Recognition, IROS 2021",
                "ryosuke-yamada/3dfractaldb",
                "MIT",
            ),
            Source(
                "Kataoka et al., Replacing Labeled Real-image Datasets with Auto-generated "
                "Contours, CVPR 2022 (ExFractalDB)",
                "masora1030/CVPR2022-Pretrained-ViT-PyTorch",
                "MIT",
            ),
        ),
        otherwise=(
            "ExFractalDB's views are random; the program published for it draws twelve on the "
            "equator, which is MV-FractalDB. Here each has its own name.",
            "The views' jitter is drawn up to π, but read as degrees: ±3.14 degrees. Here it is "
            'so, too; jitter="radians" has what is meant.',
            "The search is not seeded, and the script's threshold of variance, 0.05, is not the "
            "program's default, 0.15. Here the categories are those of a seed, with 0.05.",
            "Instances that diverge are left out without a word. Here a sample's instance is drawn "
            "among those that do not.",
        ),
    ),
    Family(
        title="3D-OFDB: one instance, twelve views",
        datasets={
            "3d-ofdb-1k": "As the published program draws it.",
            "3d-ofdb-1k-paper": "As the paper means it: each category with its own parameters.",
        },
        equation=(
            "v′ = Aₖ v + tₖ with the first coefficient of every Aₖ × 0.4 as published, 1 in the "
            "paper",
            "the cameras of MV-FractalDB; one walk for all views of a category",
        ),
        sources=(_OFDB,),
        otherwise=(
            "As in two dimensions: the program takes the first row of the table of weights, which "
            "multiplies a coefficient by 0.4. Categories that diverge with it are drawn here with "
            "their own parameters.",
        ),
    ),
    Family(
        title="Sigma-factor fractals",
        datasets={
            "wacv-1k": "One contractive fractal before a background; its class is the target.",
            "wacv-1k-multi": "One to five fractals; the target is multi-hot.",
        },
        equation=(
            "Aₖ = R(θₖ) D diag(σₖ₁, σₖ₂) R(φₖ) D′,  D, D′: random signs,  pₖ ∝ |det Aₖ|",
            "1 ≥ σₖ₁ ≥ σₖ₂ ≥ 0,  M = 2 … 4 maps,  Σₖ (σₖ₁ + 2σₖ₂) ~ U((5 + M) / 2, (6 + M) / 2)",
            "density = hits / most hits; the hue turns with it; diamond-square noise behind",
        ),
        sources=(
            Source(
                "Anderson and Farrell, Improving Fractal Pre-training, WACV 2022",
                "catalys1/fractal-pretraining",
                "MIT",
            ),
        ),
        otherwise=(
            "The program's label is the sample's number divided by the number of classes rather "
            "than by the images of a class: right only where both are equal. Here it is the "
            "category.",
            "The program ignores its share of blurred images and blurs half of them. Here none is "
            "blurred unless blur is set.",
            "With its cache of drawn fractals, half of the program's samples are old ones, "
            "augmented again. Here every sample is drawn.",
        ),
    ),
    Family(
        title="RCDB: radial contours",
        datasets={
            "rcdb-1k": "Gray lines on white.",
            "rcdb-21k": "The same with 21,000 categories, of which the first 1,000 are rcdb-1k's.",
        },
        equation=(
            _CONTOUR_START,
            "x ← x + cos θᵥ (P − 2P n + w),  y ← y + sin θᵥ (P − 2P n′ + w),  for 1 … L polygons",
            "V, L, P and w make a category; n, n′: noise of each vertex and polygon",
        ),
        sources=(
            Source(
                "Kataoka et al., Replacing Labeled Real-image Datasets with Auto-generated "
                "Contours, CVPR 2022",
                "masora1030/CVPR2022-Pretrained-ViT-PyTorch",
                "MIT",
            ),
        ),
        otherwise=(
            "What the program calls line width (w) is a growth a polygon; a line is one pixel wide "
            "always.",
            "Radius, ellipse and centre are saved with a category but drawn again for each image. "
            "So they are here.",
            *_CONTOUR_NOISE,
        ),
    ),
    Family(
        title="VisualAtom: waves on concentric orbits",
        datasets={
            "visualatom-1k": "With the values of the published script, as the released images.",
            "visualatom-1k-argparse": "With the defaults of the published program instead.",
            "visualatom-21k": "21,000 categories, of which the first 1,000 are visualatom-1k's.",
        },
        equation=(
            _CONTOUR_START,
            "x ← x + cos θᵥ (P − P n + ½ sin f θᵥ + ½ sin g θᵥ + w),  y alike with sin θᵥ and n′",
            "V, L, P, w, r, o, o′ and the frequencies f ≠ g (or both 0) make a category",
        ),
        sources=(
            Source(
                "Takashima et al., Visual Atoms: Pre-training Vision Transformers with Sinusoidal "
                "Waves, CVPR 2023",
                "masora1030/CVPR2023-FDSL-on-VisualAtom",
                "MIT",
            ),
        ),
        otherwise=(
            "The program's defaults and the script that calls it differ in the noise, the growth "
            "and the radius. Both are here, the second as visualatom-1k-argparse.",
            *_CONTOUR_NOISE,
        ),
    ),
    Family(
        title="SegRCDB: contours with masks",
        datasets={"segrcdb": "32 contours an image. Below each image its mask, a colour a class."},
        equation=(
            _CONTOUR_START,
            "x ← x + cos θᵥ (P − 2P n + w),  y ← y + sin θᵥ (P − 2P n′ + w),  for 1 … L polygons",
            "mask: the lines (M1), the ring between first and last (M2), the last one filled (M3)",
        ),
        sources=(
            Source(
                "Shinoda et al., SegRCDB: Semantic Segmentation via Formula-Driven Supervised "
                "Learning, ICCV 2023",
                "dahlian00/SegRCDB",
                "MIT",
            ),
        ),
        otherwise=(
            "With M2 the hole of a later contour erases the mask below it, though the image shows "
            "the lines that lie there. Here it is so, too.",
            _CONTOUR_NOISE[0],
        ),
    ),
    Family(
        title="Bézier curves",
        datasets={"bezier-1k": "Bundles of 16 strokes; categories by their control points."},
        equation=(
            "B(t) = Σᵢ C(n, i) tⁱ (1 − t)ⁿ⁻ⁱ Pᵢ,  0 ≤ t ≤ 1",
            "category: 2 … 5 curves of 3 … 8 points Pᵢ; image: Pᵢ + U(±0.1); stroke: + U(±0.06)",
        ),
        sources=(
            Source(
                "Kataoka et al., Pre-training without Natural Images, IJCV 2022, which compares "
                "FractalDB with Bézier curves"
            ),
        ),
        otherwise=(
            "No program whose images these could be is published: the law is the project's own, "
            "and written down in docs/data-sets.md.",
        ),
    ),
    Family(
        title="Perlin noise",
        datasets={
            "perlin-100": "Ten frequencies an axis, from 2 to 32 cells.",
            "perlin-1k": "The first 1,000 pairs of 32 frequencies an axis.",
        },
        equation=(
            "n(p) = blend of gᵢ · (p − qᵢ) over the four corners qᵢ of p's cell, |gᵢ| = 1",
            "blend along each axis by s(t) = 6t⁵ − 15t⁴ + 10t³;  gray = 128 + 180 n",
            "category: cells a side in x and in y; image: fresh gradients gᵢ and phases",
        ),
        sources=(
            Source(
                "Inoue, Yamagata and Kataoka, Initialization Using Perlin Noise for Training "
                "Networks with a Limited Amount of Data, ICPR 2020"
            ),
        ),
        otherwise=("No program is published; the frequencies are the project's own choice.",),
    ),
)
"""In the order of the page."""

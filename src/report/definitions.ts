import { type Markup, markup } from './markup.js';

/** How each number of the page is defined. */
export const DEFINITIONS: Markup = markup`<p>x is the activation at the hook, x̂ its reconstruction by the SAE, f the SAE’s feature activations, T the number of counted positions. A position is counted if it holds a token other than BOS and is followed by one: BOS positions are left out of every mean. CE(·) is the model’s mean next-token cross-entropy, in nats a token, with the activation at the hook replaced as written; CE(x) is the clean model.</p>
<dl>
<dt>L0</dt><dd><span class="equation">L0 = (1/T) Σ<sub>t</sub> |{ j : f<sub>j</sub>(x<sub>t</sub>) &gt; 0 }|</span> Mean number of active features a token.</dd>
<dt>Loss recovered</dt><dd><span class="equation">1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x))</span> 100 % is the clean model’s loss, 0 % the loss with the activation set to zero. Rajamanoharan et al. 2024 (arXiv 2404.16014).</dd>
<dt>Loss recovered, mean ablation</dt><dd><span class="equation">1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x))</span> As above, with the mean activation x̄ in place of zero.</dd>
<dt>Intervals</dt><dd>95 %, by bootstrap over contexts: where they stand, below a value and as lines through a point, whole contexts were drawn again and again in place of those evaluated.</dd>
<dt>Firing ratio</dt><dd><span class="equation">L0<sub>gated</sub> / L0<sub>standard</sub> at equal loss recovered ℓ</span> Each curve consists of the SAEs of its family that no other dominates, and is ln L0, linear between neighbours in −ln(1 − ℓ). Compared is the range of ℓ that both curves cover; nothing is extrapolated. The mean is the geometric mean over that range, uniform in −ln(1 − ℓ).</dd>
<dt>ΔCE</dt><dd><span class="equation">CE(x̂) − CE(x)</span> Cross-entropy that splicing in the SAE adds.</dd>
<dt>KL</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> Σ<sub>v</sub> p<sub>t</sub>(v) log( p<sub>t</sub>(v) / p̂<sub>t</sub>(v) )</span> p is the clean, p̂ the spliced distribution of the next token over the vocabulary.</dd>
<dt>Explained variance</dt><dd><span class="equation">1 − Σ<sub>t</sub> |x<sub>t</sub> − x̂<sub>t</sub>|² / Σ<sub>t</sub> |x<sub>t</sub> − x̄|²</span> x̄ is the mean activation. FVU is 1 minus it. “A token”: the mean over positions of 1 − |x<sub>t</sub> − x̂<sub>t</sub>|² / |x<sub>t</sub> − x̄|².</dd>
<dt>Cosine</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> x<sub>t</sub>·x̂<sub>t</sub> / (|x<sub>t</sub>| |x̂<sub>t</sub>|)</span></dd>
<dt>γ, relative reconstruction bias</dt><dd><span class="equation">γ = E|x̂|² / E[x̂·x]</span> The factor by which x̂ would have to be divided to fit x best. Below 1 is shrinkage. Section 4.2 of the paper.</dd>
<dt>Density</dt><dd>Share of the counted positions on which a feature is active.</dd>
<dt>Dead</dt><dd>Active on none of a stretch of activations. In tables and histograms, the stretch is the counted positions of the evaluation. In the training curves, it is the last --dead-window activations of training; before the run has seen as many, the curve has no value. The two stretches differ, and so may the shares.</dd>
<dt>Dense</dt><dd>Active on more than a tenth of the counted positions.</dd>
<dt>Decoder cosine</dt><dd>For each feature, the largest cosine of its decoder row to another one; mean over features, and the largest of all.</dd>
<dt>Loss</dt><dd>In the training curves: the training objective (reconstruction error, sparsity penalty and, for gated SAEs, the auxiliary reconstruction error) on normalised activations. It is not comparable between architectures, nor between sparsity coefficients.</dd>
</dl>`;

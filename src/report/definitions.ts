import { type Markup, markup } from './markup.js';

/** How each number of the page is defined. */
export const DEFINITIONS: Markup = markup`<p>x is the activation at the hook, x̂ its reconstruction by the SAE, f the SAE’s feature activations, T the number of counted positions. A position is counted if it holds a token other than BOS and is followed by one: BOS positions are left out of every mean. CE(·) is the model’s mean next-token cross-entropy, in nats a token, with the activation at the hook replaced as written; CE(x) is the clean model.</p>
<dl>
<dt>L0</dt><dd><span class="equation">L0 = (1/T) Σ<sub>t</sub> |{ j : f<sub>j</sub>(x<sub>t</sub>) &gt; 0 }|</span> Mean number of active features a token.</dd>
<dt>Loss recovered</dt><dd><span class="equation">1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x))</span> 100 % is the clean model’s loss, 0 % the loss with the activation set to zero. Rajamanoharan et al. 2024 (arXiv 2404.16014).</dd>
<dt>ΔCE</dt><dd><span class="equation">CE(x̂) − CE(x)</span> Cross-entropy that splicing in the SAE adds.</dd>
<dt>KL</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> Σ<sub>v</sub> p<sub>t</sub>(v) log( p<sub>t</sub>(v) / p̂<sub>t</sub>(v) )</span> p is the clean, p̂ the spliced distribution of the next token over the vocabulary.</dd>
<dt>Explained variance</dt><dd><span class="equation">1 − Σ<sub>t</sub> |x<sub>t</sub> − x̂<sub>t</sub>|² / Σ<sub>t</sub> |x<sub>t</sub> − x̄|²</span> x̄ is the mean activation.</dd>
<dt>Cosine</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> x<sub>t</sub>·x̂<sub>t</sub> / (|x<sub>t</sub>| |x̂<sub>t</sub>|)</span></dd>
<dt>γ, relative reconstruction bias</dt><dd><span class="equation">γ = E|x̂|² / E[x̂·x]</span> The factor by which x̂ would have to be divided to fit x best. Below 1 is shrinkage. Section 4.2 of the paper.</dd>
<dt>Density</dt><dd>Share of the counted positions on which a feature is active.</dd>
<dt>Dead</dt><dd>In the table and figure 3: active on none of the counted positions. In the training curves: not active during the dead window of training. The two need not agree.</dd>
<dt>Loss</dt><dd>In the training curves: the training objective (reconstruction error, sparsity penalty and, for gated SAEs, the auxiliary reconstruction error) on normalised activations. It is not comparable between architectures, nor between sparsity coefficients.</dd>
</dl>`;

/* The advantage estimators of rsgrpo_cli/core, one function each: rewards of one group in, advantages out.
   tests/report/html/test_estimators_js.py holds every function to its twin in core within 1e-9. */
const Estimators = (() => {
  "use strict";
  const EPS = 1e-6;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (values) => sum(values) / values.length;
  const zeros = (size) => new Array(size).fill(0);
  const fail = (message) => { throw new Error(message); };

  /* The mean is taken twice, so that a constant group gives exact zeros. */
  function centred(values) {
    const first = mean(values), deviations = values.map((value) => value - first), rest = mean(deviations);
    return deviations.map((value) => value - rest);
  }
  function deviation(deviations, ddof) {
    return Math.sqrt(sum(deviations.map((d) => d * d)) / Math.max(deviations.length - ddof, 1));
  }
  const over = (values, divisor) => values.map((value) => (divisor === 0 ? 0 : value / divisor));
  function binary(rewards, name) {
    if (rewards.some((r) => r !== 0 && r !== 1)) fail(`${name} needs rewards of 0 and 1`);
  }
  function atLeast(name, rewards, least) {
    if (rewards.length < least) fail(`${name} needs at least ${least} rewards in a group, not ${rewards.length}`);
  }
  function checkK(name, k, size) {
    if (!Number.isInteger(k) || k < 1) fail(`k must be a whole number of at least 1, not ${k}`);
    if (k > size) fail(`${name} with k = ${k} needs at least ${k} rewards in a group, not ${size}`);
  }

  /* exp(beta (r - r*)) and (exp(beta (r - r*)) - 1) / beta, r* the favoured reward: nothing overflows. */
  function tilt(rewards, beta) {
    if (beta === 0) return { growth: rewards, weights: rewards.map(() => 1) };
    const favoured = beta > 0 ? Math.max(...rewards) : Math.min(...rewards);
    const exponents = rewards.map((r) => beta * (r - favoured));
    const growth = exponents.map((e, i) => (e > -1e-17 ? rewards[i] - favoured : Math.expm1(e) / beta));
    return { growth, weights: exponents.map(Math.exp) };
  }
  /* The largest weight is set aside: sum(w) - w_i would lose every digit where one weight outweighs the rest. */
  function meanOfOthers(weights) {
    const top = Math.max(...weights), at = weights.indexOf(top);
    const rest = sum(weights.filter((_, i) => i !== at));
    return weights.map((w) => (rest + (top - w)) / (weights.length - 1));
  }
  function againstOthers(deviations, weights, eps) {
    if (deviations.every((d) => d === 0)) return zeros(weights.length);
    const size = weights.length, others = meanOfOthers(weights).map((w) => w + eps);
    if (Math.min(...others) < 2.3e-308) fail("the advantages overflow: one reward is too far from all others");
    return deviations.map((d, i) => (d * (size / (size - 1)) - eps) / others[i]);
  }
  /* own r_(i) + sum_{m >= i} above_m step_m + sum_{m < i} below_m step_m, in the order of the rewards. */
  function rankSums(rewards, { own = 0, above = null, below = null }) {
    const order = rewards.map((_, i) => i).sort((a, b) => rewards[a] - rewards[b] || a - b);
    const sorted = order.map((i) => rewards[i]), values = sorted.map((r) => own * r), size = sorted.length;
    if (above) for (let i = size - 2, total = 0; i >= 0; i--) values[i] += total += (sorted[i + 1] - sorted[i]) * above[i];
    if (below) for (let i = 1, total = 0; i < size; i++) values[i] += total += (sorted[i] - sorted[i - 1]) * below[i - 1];
    const result = zeros(size);
    order.forEach((place, i) => { result[place] = values[i]; });
    return result;
  }
  /* C(j, k) / C(n, k) for j = 0..n, and one minus that. */
  function chooseRatios(n, k) {
    const ratios = zeros(n + 1), complements = zeros(n + 1);
    ratios[n] = 1;
    for (let j = n; j > 0; j--) {
      ratios[j - 1] = ratios[j] * (Math.max(j - k, 0) / j);
      complements[j - 1] = complements[j] + ratios[j] * k / j;
    }
    return { ratios, complements };
  }
  /* C(G-c, k-1) / C(G-1, k-1) for c = 1..G: how often k - 1 others of a right answer are all wrong. */
  const otherFailures = (size, k, right) => (right === 0 ? 0 : chooseRatios(size - 1, k - 1).ratios[size - right]);

  function rs_grpo(rewards, { beta, denominator = "group" }) {
    const { growth, weights } = tilt(rewards, beta);
    if (denominator === "group") { const total = mean(weights); return centred(growth).map((g) => g / total); }
    atLeast("rs_grpo with denominator leave_one_out", rewards, 2);
    const others = meanOfOthers(weights), size = rewards.length;
    if (Math.min(...others) < 2.3e-308) fail("the advantages overflow at this beta: use denominator group");
    return centred(growth).map((g, i) => g * (size / (size - 1)) / others[i]);
  }
  const dr_grpo = (rewards) => centred(rewards);
  function grpo(rewards, { eps = EPS, ddof = 1 } = {}) {
    const deviations = centred(rewards);
    return over(deviations, deviation(deviations, ddof) + eps);
  }
  function rloo(rewards) {
    atLeast("rloo", rewards, 2);
    return centred(rewards).map((d) => d * (rewards.length / (rewards.length - 1)));
  }
  function max_rl(rewards, { eps = EPS } = {}) {
    const average = mean(rewards);
    if (average <= 0 && rewards.some((r) => r !== 0)) fail("max_rl needs groups whose mean reward is above 0");
    return over(centred(rewards), average + eps);
  }
  function tail_rl(rewards) {
    const size = rewards.length;
    return centred(rankSums(rewards, { below: zeros(size - 1).map((_, m) => size / (size - 1 - m)) }));
  }
  function qae(rewards, { level = 0.4, quantile = "right", eps = EPS, ddof = 1 } = {}) {
    const sorted = [...rewards].sort((a, b) => a - b), size = sorted.length;
    let baseline = sorted[Math.max(Math.ceil(level * size - 1e-9), 1) - 1];
    if (quantile === "linear") {
      const position = level * (size - 1), low = Math.floor(position);
      baseline = sorted[low] + (position - low) * (sorted[Math.min(low + 1, size - 1)] - sorted[low]);
    }
    return over(rewards.map((r) => r - baseline), deviation(centred(rewards), ddof) + eps);
  }
  function entropic_loo(rewards, { beta, eps = 1e-12 }) {
    atLeast("entropic_loo", rewards, 2);
    const { growth, weights } = tilt(rewards, beta);
    return againstOthers(centred(growth).map((g) => beta * g), weights, eps);
  }
  function divergence(gaps, beta) {
    const weights = gaps.map((g) => Math.exp(beta * g)), total = sum(weights);
    return beta * sum(weights.map((w, i) => w * gaps[i])) / total - Math.log(total / gaps.length);
  }
  /* The divergence rises with beta: double until it is above kl, then halve the range until it has no middle. */
  function solveBeta(gaps, kl) {
    let low = 0, high = 1;
    while (divergence(gaps, high) < kl && high < 1e300) { low = high; high *= 2; }
    for (let i = 0; i < 200; i++) {
      const middle = (low + high) / 2;
      if (middle === low || middle === high) break;
      if (divergence(gaps, middle) < kl) low = middle; else high = middle;
    }
    return high;
  }
  function entropic_adaptive(rewards, { kl = Math.LN2 } = {}) {
    atLeast("entropic_adaptive", rewards, Math.floor(Math.exp(kl) * (1 + 1e-12)) + 1);
    const size = rewards.length, top = Math.max(...rewards), spread = top - Math.min(...rewards);
    if (spread === 0) return zeros(size);
    const gaps = rewards.map((r) => (r - top) / spread), best = gaps.filter((g) => g === 0).length;
    const beta = Math.log(size / best) > kl * (1 + 1e-12) ? solveBeta(gaps, kl) : Infinity;
    const exponents = gaps.map((g) => (g === 0 ? 0 : beta * g));
    return againstOthers(centred(exponents.map(Math.expm1)), exponents.map(Math.exp), 0);
  }
  function pkpo(rewards, { k, variant = "sloo_minus_one" }) {
    const size = rewards.length;
    checkK("pkpo", k, size);
    if (variant === "sloo_minus_one") {
      if (k === 1) return rloo(rewards);
      return rankSums(rewards, { below: chooseRatios(size - 1, k - 1).ratios.slice(1).map((r) => k * r) });
    }
    const above = chooseRatios(size - 1, k - 1).complements.slice(0, -1).map((c) => k * c);
    if (variant === "s") return rankSums(rewards, { own: k, above });
    if (k === size) fail(`pkpo variant sloo needs groups of more than k = ${k} rewards`);
    const { ratios, complements } = chooseRatios(size - 1, k), baseline = k * size / (size - 1);
    return rankSums(rewards, {
      own: -k / (size - 1),
      above: above.map((a, m) => a - baseline * complements[m]),
      below: ratios.slice(1).map((r) => baseline * r),
    });
  }
  function chen_passk(rewards, { k, eps = EPS }) {
    binary(rewards, "chen_passk");
    const size = rewards.length, right = sum(rewards), wrong = size - right;
    checkK("chen_passk", k, size);
    const { ratios, complements } = chooseRatios(size, k), fails = ratios[wrong], passes = complements[wrong];
    if (!(passes > 0 && fails > 0)) return zeros(size);
    const gain = fails / (Math.sqrt(passes * fails) + eps);
    return rewards.map((r) => (r === 1 ? gain : -gain * right / wrong));
  }
  function mahdavi_passk(rewards, { k, variant = "unbiased", eps = EPS, ddof = 1 }) {
    binary(rewards, "mahdavi_passk");
    const size = rewards.length;
    checkK("mahdavi_passk", k, variant === "unbiased" ? size : Infinity);
    if (variant === "unbiased") {
      const weight = k * otherFailures(size, k, sum(rewards));
      return rewards.map((r) => (r === 1 ? weight : 0));
    }
    const deviations = centred(rewards), weighed = deviations.map((d) => (1 - mean(rewards)) ** (k - 1) * d);
    return variant === "plugin" ? weighed.map((w) => k * w) : over(weighed, deviation(deviations, ddof) + eps);
  }
  function passk_rloo(rewards, { k }) {
    binary(rewards, "passk_rloo");
    const size = rewards.length, right = sum(rewards);
    checkK("passk_rloo", k, size);
    atLeast("passk_rloo", rewards, 2);
    const weight = otherFailures(size, k, right) / (size - 1);
    return rewards.map((r) => (r === 1 ? weight * (size - right) : -weight * right));
  }
  function tang_max(rewards) {
    atLeast("tang_max", rewards, 2);
    const sorted = [...rewards].sort((a, b) => b - a);
    return rewards.map((r) => (r === sorted[0] ? sorted[0] - sorted[1] : 0));
  }
  function power(rewards, { alpha }) {
    if (!(alpha >= 1 && alpha < Infinity)) fail(`alpha must be at least 1, not ${alpha}`);
    binary(rewards, "power");
    const wrong = 1 - mean(rewards);
    return centred(rewards).map((d) => wrong ** (alpha - 1) * d);
  }
  function f_grpo(rewards, { gamma, eps = EPS, ddof = 1 }) {
    if (!(gamma >= 0 && gamma < Infinity)) fail(`gamma must be at least 0, not ${gamma}`);
    binary(rewards, "f_grpo");
    const wrong = 1 - mean(rewards);
    return grpo(rewards, { eps, ddof }).map((a) => wrong ** gamma * a);
  }
  function bbg(rewards, { k, threshold = 0.01 }) {
    checkK("bbg", k, Infinity);
    binary(rewards, "bbg");
    const size = rewards.length, wrong = size - sum(rewards);
    let weight = k;
    for (let j = 1; j < k; j++) weight *= (wrong + j) / (size + 1 + j);
    if (weight < threshold * (size + 1)) return zeros(size);
    return wrong === size ? rewards.map(() => -weight) : centred(rewards).map((d) => weight * d);
  }
  function checkPair(right, wrong) {
    if (!(right >= 0 && right < Infinity && wrong >= 0 && wrong < Infinity)) fail("right and wrong must be at least 0");
  }
  function w_reinforce(rewards, { right = 0.1, wrong = 1 } = {}) {
    checkPair(right, wrong);
    binary(rewards, "w_reinforce");
    return rewards.map((r) => (r === 1 ? right : -wrong));
  }
  function asym_grpo(rewards, { right = 0.9, wrong = 0.4 } = {}) {
    checkPair(right, wrong);
    binary(rewards, "asym_grpo");
    const p = mean(rewards), odds = (1 - p) / p;
    if (p === 0 || p === 1) return zeros(rewards.length);
    return rewards.map((r) => (r === 1 ? odds ** right : -(odds ** -wrong)));
  }

  const FUNCTIONS = {
    rs_grpo, grpo, dr_grpo, rloo, max_rl, tail_rl, qae, entropic_loo, entropic_adaptive,
    pkpo, chen_passk, mahdavi_passk, passk_rloo, tang_max,
    power, f_grpo, bbg, w_reinforce, asym_grpo,
  };
  /* What can be moved in the page; other settings keep the values of core. */
  const BETA = { beta: { from: -4, to: 16, step: 0.25, start: 2 } };
  const K = { k: { from: 1, to: "size", step: 1, start: 4 } };
  const CONTROLS = {
    rs_grpo: { ...BETA, denominator: ["group", "leave_one_out"] },
    qae: { level: { from: 0, to: 1, step: 0.05, start: 0.4 } },
    entropic_loo: BETA,
    entropic_adaptive: { kl: { from: 0.05, to: 2, step: 0.01, start: Math.LN2 } },
    pkpo: { ...K, variant: ["sloo_minus_one", "sloo", "s"] },
    chen_passk: K,
    mahdavi_passk: { ...K, variant: ["unbiased", "plugin", "plugin_grpo"] },
    passk_rloo: K,
    power: { alpha: { from: 1, to: 6, step: 0.25, start: 2 } },
    f_grpo: { gamma: { from: 0, to: 6, step: 0.25, start: 1 } },
    bbg: K,
    w_reinforce: { right: { from: 0, to: 2, step: 0.05, start: 0.1 }, wrong: { from: 0, to: 2, step: 0.05, start: 1 } },
    asym_grpo: { right: { from: 0, to: 2, step: 0.05, start: 0.9 }, wrong: { from: 0, to: 2, step: 0.05, start: 0.4 } },
  };
  /* Estimators of core that need more than the rewards of one group, each with the reason. */
  const HISTORY = "it weighs groups by what earlier steps of the run were like, which the page does not have";
  const NOT_IN_THE_PAGE = { rs_grpo_moving: HISTORY, fade: HISTORY, curve_rl: HISTORY };

  /* Advantages of a group; null is a completion without a reward, which gets 0 and takes no part. */
  function compute(name, rewards, settings) {
    const known = rewards.filter((r) => r !== null);
    if (known.length < 2) return rewards.map(() => 0);
    const made = FUNCTIONS[name](known, settings || {});
    let at = 0;
    return rewards.map((r) => (r === null ? 0 : made[at++]));
  }
  return { names: Object.keys(FUNCTIONS), functions: FUNCTIONS, controls: CONTROLS, notInThePage: NOT_IN_THE_PAGE, compute };
})();

/-
What most competition problems need of Mathlib, for headers that begin with `import Slim` in place of
`import Mathlib`: a checker that imports less is smaller and starts sooner.
-/
import Mathlib.Tactic
import Mathlib.Analysis.SpecialFunctions.Log.Base
import Mathlib.Analysis.SpecialFunctions.Pow.Real
import Mathlib.Analysis.SpecialFunctions.Trigonometric.Basic
import Mathlib.Data.Nat.Prime.Basic
import Mathlib.NumberTheory.Divisors

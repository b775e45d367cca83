-- Files that a report takes: whatever declares, in the forms in which it may.
mutual
def ev : Nat → Bool
  | 0 => true
  | n+1 => od n
def od : Nat → Bool
  | 0 => false
  | n+1 => ev n
end
-- another file
mutual
def ev (n : Nat) : Bool := if n = 0 then true else od (n - 1)
termination_by n
def od (n : Nat) : Bool := if n = 0 then false else ev (n - 1)
termination_by n
end
-- another file
theorem foo (n : Nat) : n = n := bar n
where bar (m : Nat) : m = m := rfl
-- another file
def f (n : Nat) : Nat :=
  let rec g (k : Nat) : Nat := if k = 0 then 0 else g (k - 1) + n
  g n
-- another file
instance foo : Inhabited Nat where
  default := h 3
where h (n : Nat) : Nat := n + 1
-- another file
structure S where
  a : Nat := 3
  b : Nat
  c : Nat := by exact 3
inductive T | x | y : T → T
class C (α : Type) extends Inhabited α where
  z : α := default
abbrev Q := Nat
-- another file
mutual
inductive A | a : B → A
inductive B | b : A → B | n
end
mutual
theorem ta : (x : A) → x = x
  | .a b => rfl
theorem tb : (x : B) → x = x
  | .b a => rfl
  | .n => rfl
end
private def pp : Nat := qq 3 where qq (n : Nat) : Nat := n
def N.f : Nat := g 3 where g (n : Nat) : Nat := match n with | 0 => 1 | n+1 => g n
mutual
def N2.f (n : Nat) : Nat := n
protected def N2.g (n : Nat) : Nat := n
end
example : Nat := k 3 where k (n : Nat) : Nat := n
instance : Inhabited A := ⟨k 3⟩ where k (n : Nat) : A := .a .n
def fu (n : Nat) : Option Nat := do if n > 100 then return n else fu (n + 1)
partial_fixpoint
-- another file
structure S where
  a : Nat := 3
  (b c : Nat := 4)
  d : Nat
  e : Nat := by exact 3
  private f : Nat := 2
inductive T | x | y : T → T
class C (α : Type) extends Inhabited α where
  z : α := default
abbrev Q := Nat
structure S2 extends S where
  a := 5
  d := 7
deriving instance Inhabited for T
class inductive CI | x
private structure PS where
  a : Nat := 3
namespace N
structure _root_.RS where
  a : Nat := 3
def _root_.q : Nat := 2
protected def z : Nat := 2
end N
structure W where mk' ::
  x : Nat
deriving Repr, DecidableEq
theorem t1 : 1 = 1 := rfl
instance (priority := low) : Inhabited S := ⟨⟨1,2,3,4,5,6⟩⟩
open Nat in
theorem t2 : 1 = 1 := rfl
inductive A.B : Type | c
def A.d := 2
abbrev «x y» := 3
def fu (n : Nat) : Option Nat := do if n > 100 then return n else fu (n + 1)
partial_fixpoint
noncomputable section
def cc := 2
end
-- another file
structure S : Type where
  a : Nat := 3
  deriving Inhabited
@[simp] theorem foo (n : Nat) : n + 0 = n := by
  have : ∀ k : Nat, k = k := by
    let rec h (k : Nat) : k = k := rfl
    exact h
  rfl
-- another file
structure S where
  a : Nat
namespace S
local instance : Inhabited S := ⟨⟨1⟩⟩
scoped instance (priority := low) : Add S := ⟨fun a _ => a⟩
@[local simp] theorem foo (n : Nat) : n + 0 = n := rfl
@[instance] def bar : Mul S := ⟨fun a _ => a⟩
noncomputable instance {n : Nat} : OfNat S n where
  ofNat := k n
 where k (n : Nat) : S := ⟨n⟩
protected theorem x.y : 1 = 1 := rfl
end S
/-- doc -/
instance : Inhabited (S × S) where
  default := (S.mk 1, S.mk 2)
set_option maxRecDepth 600 in
open S in
/-- doc -/
instance : Inhabited (S × S) := ⟨default⟩
section
variable {α : Type} (xs : List α) [Inhabited α]
variable (α) in
def hd : α := default
variable {xs}
variable (xs) in
theorem t : xs = xs := rfl
variable (xs) [inst : BEq α]
omit inst in
theorem t2 : xs = xs := rfl
include inst in
theorem t3 : xs = xs := rfl
end
example : 2 + 2 = 4 := h 3 where h (_ : Nat) : 2 + 2 = 4 := rfl
mutual
example : 1 = 1 := rfl
end
universe u v
class Foo (α : Type u) where
  x : α
  y : α := x
  z : Nat := by exact 3
  (p q : Nat := 3)
  protected r : Nat := 4
  /-- doc -/
  s (n : Nat) : Nat := n
deriving instance Inhabited for Foo
inductive Tree (α : Type u) | leaf | node (l : Tree α) (x : α) (r : Tree α)
  deriving Repr, BEq, Inhabited, DecidableEq
theorem Tree.z (t : Tree Nat) : t = t := by
  have h : ∀ n : Nat, n = n := by
    intro n
    induction n with
    | zero => rfl
    | succ n ih => rfl
  rfl
def ack : Nat → Nat → Nat
  | 0, n => n + 1
  | m+1, 0 => ack m 1
  | m+1, n+1 => ack m (ack (m+1) n)
termination_by m n => (m, n)
def lit : Nat := Id.run do
  let mut x := 0
  let rec go (n : Nat) : Nat := match n with | 0 => 0 | n+1 => go n
  for i in [0:3] do x := x + go i
  return x

section
variable {α : Type} (β : Type _) (p : Prop)

inductive Twig where
  | leaf (y : β)
  | node (l r : Twig) (x : α)
deriving Repr, DecidableEq

end

/-
Lists the theorems of the installed library with their statements: one module a request.

Written in the same plain style as the checker, for the same reason.
-/
module

public import Lean.Elab.Frontend
public import Lean.PrettyPrinter
public import Lean.Data.Json

open Lean

namespace STP.Library

/-- Does the name have a part that marks it as made by Lean and not by a person? -/
partial def isAuxiliary : Name → Bool
  | .str p s => (match s.toList with | '_' :: _ => true | _ => false) || isAuxiliary p
  | .num _ _ => true
  | .anonymous => false

/-- Options under which a printed statement has the best chance to elaborate again. -/
def printOptions : Options :=
  let o := (Options.empty).set `pp.proofs true
  let o := o.set `pp.maxSteps 100000
  let o := o.set `format.width 100000
  let o := o.set `pp.deepTerms true
  let o := o.set `pp.sanitizeNames false
  let o := o.set `pp.fieldNotation.generalized true
  o

/-- The statement of a constant as Lean prints it, or none where it is no proposition. -/
def statementOf (env : Environment) (name : Name) : IO (Option String) := do
  match env.find? name with
  | none => return none
  | some info =>
    let context : Core.Context :=
      { fileName := "<library>", fileMap := FileMap.ofString "", options := printOptions }
    let run : MetaM (Option Format) := do
      if ← Meta.isProp info.type then
        let printed ← PrettyPrinter.ppSignature name
        return some printed.fmt
      else return none
    match ← ((Meta.MetaM.run' run).run' context { env }).toBaseIO with
    | .ok (some fmt) => return some (fmt.pretty 100000)
    | _ => return none

/-- Names and statements of a list of constants. -/
partial def statementsOf (env : Environment) (acc : Array Json) : List Name → IO (Array Json)
  | [] => return acc
  | name :: rest => do
    if isAuxiliary name then statementsOf env acc rest
    else match ← statementOf env name with
      | some text => statementsOf env (acc.push (.arr #[.str (name.toString true), .str text])) rest
      | none => statementsOf env acc rest

/-- The constants of a module, in the order of its file. -/
def constantsOf (env : Environment) (module_ : Name) : List Name :=
  match env.getModuleIdx? module_ with
  | none => []
  | some index => match env.header.moduleData[index.toNat]? with
    | some data => data.constNames.toList
    | none => []

/-- All module names, as JSON. -/
def moduleNames (acc : Array Json) : List Name → Array Json
  | [] => acc
  | name :: rest => moduleNames (acc.push (.str (name.toString false))) rest

/-- Answers requests until the input ends: an empty module name asks for the list of modules. -/
partial def serve (input output : IO.FS.Stream) (nonce : String) (env : Environment) : IO Unit := do
  let line ← input.getLine
  if line == "" then return
  let reply ← match Json.parse line with
    | .ok (.str "") => pure (.arr (moduleNames #[] env.header.moduleNames.toList))
    | .ok (.str name) => do
      let found ← statementsOf env #[] (constantsOf env name.toName)
      pure (.arr found)
    | _ => pure Json.null
  output.putStr ("STP1 " ++ nonce ++ " " ++ reply.compress ++ "\n")
  output.flush
  serve input output nonce env

end STP.Library

/-- The first line of the input is the nonce that every reply carries. -/
public def main : IO Unit := do
  let input ← IO.getStdin
  let output ← IO.getStdout
  let line ← input.getLine
  let nonce := String.ofList (dropEnd line.toList)
  let env ← importModules #[{ module := `Init }] {} 0 #[] (loadExts := true)
  output.putStr ("STP1 " ++ nonce ++ " {\"ready\":true}\n")
  output.flush
  STP.Library.serve input output nonce env
where
  /-- The characters before the line's end. -/
  dropEnd : List Char → List Char
    | [] => []
    | '\n' :: _ => []
    | c :: cs => c :: dropEnd cs

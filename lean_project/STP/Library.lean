/-
Lists the theorems that imports bring: a module a request, with their statements as Lean prints them, or, in a
thousandth of the time, with the constants that their statements mention.

Written in the same plain style as the checker, for the same reason.
-/
module

public import Lean.Elab.Frontend
public import Lean.AddDecl
public import Lean.Util.FoldConsts
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

/-- Names as text, a blank between them. -/
def joined (acc : String) : List Name → String
  | [] => acc
  | name :: rest => joined (acc ++ " " ++ name.toString false) rest

/-- Of each theorem among constants: its name, its universe levels, and what its statement mentions. -/
partial def mentionsOf (env : Environment) (acc : Array Json) : List Name → Array Json
  | [] => acc
  | name :: rest =>
    if isAuxiliary name || !(wasOriginallyTheorem env name) then mentionsOf env acc rest
    else match env.find? name with
      | none => mentionsOf env acc rest
      | some info =>
        let mentioned := joined "" info.type.getUsedConstants.toList
        let row : Json := .arr #[.str (name.toString true), .str (joined "" info.levelParams), .str mentioned]
        mentionsOf env (acc.push row) rest

/-- All module names, as JSON. -/
def moduleNames (acc : Array Json) : List Name → Array Json
  | [] => acc
  | name :: rest => moduleNames (acc.push (.str (name.toString false))) rest

/-- The environment that the imports of a header make. -/
def environmentOf (header : String) : IO Environment := do
  let input : Parser.InputContext :=
    { inputString := header, fileName := "<header>", fileMap := FileMap.ofString header,
      endPos := header.rawEndPos, endPos_valid := by simp }
  let (stx, _, _) ← Parser.parseHeader input
  importModules (Elab.headerToImports stx) {} 0 #[] (loadExts := true)

/-- The reply to a request: `imports` takes those of a header and gives the names of all modules; of one of them,
`statements` and `mentions` give the theorems. -/
def answer (env : Environment) (request : Json) : IO (Environment × Json) := do
  match request.getObjVal? "imports" with
  | .ok (.str header) =>
    let env ← environmentOf header
    return (env, .arr (moduleNames #[] env.header.moduleNames.toList))
  | _ => match request.getObjVal? "statements" with
    | .ok (.str name) => return (env, .arr (← statementsOf env #[] (constantsOf env name.toName)))
    | _ => match request.getObjVal? "mentions" with
      | .ok (.str name) => return (env, .arr (mentionsOf env #[] (constantsOf env name.toName)))
      | _ => return (env, .null)

/-- Answers requests until the input ends. -/
partial def serve (input output : IO.FS.Stream) (nonce : String) (env : Environment) : IO Unit := do
  let line ← input.getLine
  if line == "" then return
  let (env, reply) ← match Json.parse line with
    | .error _ => pure (env, Json.null)
    | .ok request =>
      try answer env request
      catch e => pure (env, Json.mkObj [("failed", .str e.toString)])
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
  let env ← mkEmptyEnvironment
  output.putStr ("STP1 " ++ nonce ++ " {\"ready\":true}\n")
  output.flush
  STP.Library.serve input output nonce env
where
  /-- The characters before the line's end. -/
  dropEnd : List Char → List Char
    | [] => []
    | '\n' :: _ => []
    | c :: cs => c :: dropEnd cs

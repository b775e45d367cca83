/-
Elaborates files as Lean does, and says how long that took: what checks are measured against (`stp bench verify`). No
guard is in it, nothing of the checker, and none of what Lean does for editors and linters.

Written in the same plain style as the checker, for the same reason.
-/
module

public import Lean.Elab.Frontend
public import Lean.Elab.BuiltinCommand
public import Lean.Data.Json

open Lean

namespace STP.Floor

/-- The number of errors among messages. -/
def errorsIn : List Message → Nat
  | [] => 0
  | m :: rest => (match m.severity with | .error => 1 | _ => 0) + errorsIn rest

/-- Elaborates the commands behind a position; the number of errors. -/
partial def commands (input : Parser.InputContext) (state : Elab.Command.State) (at_ : Parser.ModuleParserState)
    (errors : Nat) : IO Nat := do
  let scope := match state.scopes with
    | scope :: _ => scope
    | [] => { header := "" }
  let (stx, at_, log) := Parser.parseCommand input
    { env := state.env, options := scope.opts, currNamespace := scope.currNamespace, openDecls := scope.openDecls }
    at_ {}
  let errors := errors + errorsIn log.toList
  if Parser.isTerminalCommand stx then return errors
  let context : Elab.Command.Context :=
    { fileName := input.fileName, fileMap := input.fileMap, snap? := none, cancelTk? := none }
  let ref ← IO.mkRef { state with messages := {} }
  match ← (Elab.Command.elabCommandTopLevel stx context ref).toBaseIO with
  | .ok _ => do
    let state ← ref.get
    commands input state at_ (errors + errorsIn state.messages.toList)
  | .error _ => return errors + 1

/-- The nanoseconds that a file takes behind `import Init`, and how many errors it has. -/
def timed (env : Environment) (text : String) : IO Json := do
  let o := (Options.empty).set `Elab.async false
  let o := o.set `linter.all false
  let state := Elab.Command.mkState env {} o
  let state := { state with infoState := { state.infoState with enabled := false } }
  let input : Parser.InputContext :=
    { inputString := text, fileName := "<file>", fileMap := FileMap.ofString text
      endPos := text.rawEndPos, endPos_valid := by simp }
  let begin_ ← IO.monoNanosNow
  let errors ← commands input state {} 0
  return Json.mkObj [("ns", .num ((← IO.monoNanosNow) - begin_)), ("errors", .num errors)]

/-- Answers requests, a file as a string each, until the input ends. -/
partial def serve (input output : IO.FS.Stream) (nonce : String) (env : Environment) : IO Unit := do
  let line ← input.getLine
  if line == "" then return
  let reply ← match Json.parse line with
    | .ok (.str text) => timed env text
    | _ => pure .null
  output.putStr ("STP1 " ++ nonce ++ " " ++ reply.compress ++ "\n")
  output.flush
  serve input output nonce env

end STP.Floor

/-- The first line of the input is the nonce that every reply carries. -/
public def main : IO Unit := do
  let input ← IO.getStdin
  let output ← IO.getStdout
  let line ← input.getLine
  let nonce := String.ofList (dropEnd line.toList)
  let env ← importModules #[{ module := `Init }] {} 0 #[] (loadExts := true)
  output.putStr ("STP1 " ++ nonce ++ " {\"ready\":true}\n")
  output.flush
  let served ← IO.asTask (STP.Floor.serve input output nonce env)
  IO.ofExcept (← IO.wait served)
where
  /-- The characters before the line's end. -/
  dropEnd : List Char → List Char
    | [] => []
    | '\n' :: _ => []
    | c :: cs => c :: dropEnd cs

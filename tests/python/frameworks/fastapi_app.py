"""FastAPI, whose models are checked by compiled code: the build says so."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return {"hello": "world"}

"""FastAPI, whose models need compiled code, which the build reports."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return {"hello": "world"}
